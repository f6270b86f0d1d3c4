//! Swarms for tests: managers side by side on this machine, each in a network namespace of its own,
//! joined by a bridge that lies in yet another one, so that the host's own rules cannot cut it.

// Not every test module uses every part.
#![allow(dead_code)]

use serde_json::Value;

use crate::rig::{Rig, ip};
use crate::scheduler::wait_for;

/// Managers of one Swarm.
pub struct Cluster {
    pub nodes: Vec<Rig>,
    /// The bridge's namespace; none for a single node.
    bridge: Option<String>,
}

impl Cluster {
    /// A Swarm of one node.
    pub fn of_one() -> Cluster {
        let node = Rig::in_namespace();
        init(&node, "127.0.0.1");
        Cluster {
            nodes: vec![node],
            bridge: None,
        }
    }

    /// The same, whose node asks registries for images.
    pub fn of_one_that_pulls() -> Cluster {
        let node = Rig::in_namespace_that_pulls();
        init(&node, "127.0.0.1");
        Cluster {
            nodes: vec![node],
            bridge: None,
        }
    }

    /// A Swarm of so many managers, which can lose the smaller half of them.
    pub fn of(count: u8) -> Cluster {
        let nodes: Vec<Rig> = (0..count).map(|_| Rig::in_namespace()).collect();
        let bridge = nodes[0].namespace_name("b");
        ip(&["netns", "add", &bridge]);
        ip(&["-n", &bridge, "link", "set", "lo", "up"]);
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &bridge, "link", "set", "br0", "up"]);
        let cluster = Cluster {
            nodes,
            bridge: Some(bridge.clone()),
        };
        for at in 0..cluster.nodes.len() {
            let (own, far) = (cluster.nodes[at].namespace_name(""), port(at));
            ip(&[
                "link", "add", "eth0", "netns", &own, "type", "veth", "peer", "name", &far, "netns", &bridge,
            ]);
            let address = format!("{}/24", address(at));
            ip(&["-n", &own, "addr", "add", &address, "dev", "eth0"]);
            ip(&["-n", &own, "link", "set", "eth0", "up"]);
            // Else an address that nobody has is asked for until a time-out.
            ip(&["-n", &own, "route", "add", "default", "via", "10.77.0.1"]);
            ip(&["-n", &bridge, "link", "set", &far, "master", "br0"]);
            ip(&["-n", &bridge, "link", "set", &far, "up"]);
        }
        let first = &cluster.nodes[0];
        init(first, &address(0));
        let (status, swarm) = first.get("/swarm");
        assert_eq!(status, 200, "{swarm}");
        let swarm: Value = serde_json::from_str(&swarm).expect("a Swarm");
        for (at, node) in cluster.nodes.iter().enumerate().skip(1) {
            let body = serde_json::json!({
                "AdvertiseAddr": address(at),
                "ListenAddr": format!("{}:2377", address(at)),
                "RemoteAddrs": [format!("{}:2377", address(0))],
                "JoinToken": swarm["JoinTokens"]["Manager"],
            });
            let (status, answer) = node.post("/swarm/join", &body.to_string());
            assert_eq!(status, 200, "{answer}");
        }
        cluster.settles(usize::from(count));
        cluster
    }

    /// Waits until so many nodes are ready, as the first manager that answers has it.
    pub fn settles(&self, ready: usize) {
        wait_for("a Swarm whose nodes are ready", || {
            let nodes = self.list()?;
            let count = nodes
                .iter()
                .filter(|node| node["Status"]["State"] == "ready")
                .filter(|node| node["ManagerStatus"]["Reachability"] != "unreachable")
                .count();
            (count == ready).then_some(())
        });
    }

    /// The nodes, from whichever manager answers.
    pub fn list(&self) -> Option<Vec<Value>> {
        self.nodes.iter().find_map(|node| {
            let (status, text) = node.request("GET", "/nodes", &[])?;
            (status == 200)
                .then(|| serde_json::from_slice(&text).ok())
                .flatten()
        })
    }

    /// Which of the nodes leads the others.
    pub fn leader(&self) -> usize {
        wait_for("a leader", || {
            let nodes = self.list()?;
            let leader = nodes
                .iter()
                .find(|node| node["ManagerStatus"]["Leader"] == true)?;
            let of = leader["ManagerStatus"]["Addr"].as_str()?.to_owned();
            (0..self.nodes.len()).find(|&at| of == format!("{}:2377", address(at)))
        })
    }

    /// Cuts a node off from all others, or joins it again.
    pub fn cut(&self, at: usize, off: bool) {
        let bridge = self.bridge.as_ref().expect("more than one node");
        ip(&[
            "-n",
            bridge,
            "link",
            "set",
            &port(at),
            if off { "down" } else { "up" },
        ]);
    }

    /// As if the power went: cut off, its engine and its containers killed.
    pub fn power_off(&self, at: usize) {
        self.cut(at, true);
        self.nodes[at].kill9();
        self.nodes[at].kill_containers();
    }

    pub fn power_on(&self, at: usize) {
        self.cut(at, false);
        self.nodes[at].up();
    }
}

fn address(at: usize) -> String {
    format!("10.77.0.{}", 11 + at)
}

/// The bridge's end of a node's cable.
fn port(at: usize) -> String {
    format!("p{at}")
}

fn init(node: &Rig, address: &str) {
    let body = serde_json::json!({
        "AdvertiseAddr": address,
        "ListenAddr": format!("{address}:2377"),
    });
    let (status, answer) = node.post("/swarm/init", &body.to_string());
    assert_eq!(status, 200, "{answer}");
}
