//! What a service account may do that runs this program: the list that `doctor` asks for, and that
//! examples/kubernetes/rbac.yaml grants.

/// Rights on one kind of objects, in one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Empty: the core group.
    pub group: &'static str,
    pub resource: &'static str,
    /// Empty, or the part of the object: `log`.
    pub part: &'static str,
    pub verbs: &'static [&'static str],
    /// Who cannot do without.
    pub for_what: &'static str,
    /// Without it the rest goes on.
    pub is_optional: bool,
}

/// All of them, in the order of the manifest.
pub const RIGHTS: &[Rights] = &[
    Rights {
        group: "batch",
        resource: "cronjobs",
        part: "",
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        for_what: "`plan`, `apply`, `watch`, `pause`, `resume` and `down`",
        is_optional: false,
    },
    Rights {
        group: "batch",
        resource: "jobs",
        part: "",
        verbs: &["get", "list", "create", "patch", "delete"],
        for_what: "`history`, `trigger`, `cancel` and `prune`",
        is_optional: false,
    },
    Rights {
        group: "",
        resource: "pods",
        part: "",
        verbs: &["get", "list"],
        for_what: "`history` and `logs`",
        is_optional: false,
    },
    Rights {
        group: "",
        resource: "events",
        part: "",
        verbs: &["get", "list"],
        for_what: "`history`",
        is_optional: false,
    },
    Rights {
        group: "",
        resource: "pods",
        part: "log",
        verbs: &["get"],
        for_what: "`logs`",
        is_optional: false,
    },
    Rights {
        group: "",
        resource: "secrets",
        part: "",
        verbs: &["get", "list", "create", "patch", "delete"],
        for_what: "jobs with values from `.env`, env files or `secrets`",
        is_optional: true,
    },
    Rights {
        group: "",
        resource: "configmaps",
        part: "",
        verbs: &["get", "list", "create", "patch", "delete"],
        for_what: "jobs with `configs`",
        is_optional: true,
    },
    Rights {
        group: "",
        resource: "persistentvolumeclaims",
        part: "",
        verbs: &["list"],
        for_what: "knowing whether the claims of named volumes are there",
        is_optional: true,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    type Granted = BTreeSet<(String, String, String)>;

    #[test]
    fn the_manifest_grants_these_and_no_more() {
        let text = include_str!("../../examples/kubernetes/rbac.yaml");
        let mut granted = Granted::new();
        for document in serde_yaml::Deserializer::from_str(text) {
            let object: serde_json::Value = serde::Deserialize::deserialize(document).expect("an object");
            let texts = |value: &serde_json::Value| -> Vec<String> {
                let texts = value.as_array().expect("a list").iter();
                texts
                    .map(|text| text.as_str().expect("a text").to_owned())
                    .collect()
            };
            for rule in object["rules"].as_array().into_iter().flatten() {
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        let verbs = texts(&rule["verbs"]).into_iter();
                        granted.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
                    }
                }
            }
        }
        let wanted: Granted = RIGHTS
            .iter()
            .flat_map(|rights| {
                let part = if rights.part.is_empty() { "" } else { "/" };
                let resource = format!("{}{part}{}", rights.resource, rights.part);
                let verbs = rights.verbs.iter();
                verbs.map(move |verb| (rights.group.to_owned(), resource.clone(), (*verb).to_owned()))
            })
            .collect();
        assert_eq!(granted, wanted);
    }
}
