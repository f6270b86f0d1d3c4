//! How much of its host a container may use.

use crate::model::{ContainerSpec, Resources};

use super::diagnostic::{Sink, code};
use super::values::{self, filled_text};
use super::yaml::{Entry, Node};

/// One key.
pub(crate) fn key(sink: &mut Sink<'_>, Entry { key, value }: &Entry, resources: &mut Resources) {
    let name = key.text.as_str();
    match name {
        "memswap_limit" => resources.memswap_limit_bytes = values::bytes_or_unlimited(sink, value, name),
        "mem_reservation" => resources.mem_reservation_bytes = values::bytes(sink, value, name),
        "shm_size" => resources.shm_size_bytes = values::bytes(sink, value, name),
        "cpu_shares" => resources.cpu_shares = values::count(sink, value, name).map(u64::from),
        "cpuset" => resources.cpuset = cpuset(sink, value),
        "pids_limit" => {
            resources.pids_limit = values::integer_within(sink, value, name, -1..=i64::from(u32::MAX));
        }
        "oom_score_adj" => resources.oom_score_adj = values::integer_within(sink, value, name, -1000..=1000),
        "cgroup_parent" => resources.cgroup_parent = filled_text(sink, value, name),
        "runtime" => resources.runtime = filled_text(sink, value, name),
        _ => {}
    }
}

/// What the engine refuses of limits that do not go together.
pub(crate) fn conflicts(sink: &mut Sink<'_>, job: &Entry, spec: &ContainerSpec) {
    let resources = &spec.resources;
    let at = |key: &str| job.value.get(key).map(|entry| entry.value.span.clone());
    let memory = spec.mem_limit_bytes.unwrap_or(0);
    if let (Some(swap), Some(span)) = (resources.memswap_limit_bytes, at("memswap_limit")) {
        if memory == 0 && swap > 0 {
            sink.error(code::MISSING_KEY, span, "`memswap_limit` needs a `mem_limit`")
                .help("it is the limit of memory and swap together");
        } else if u64::try_from(swap).is_ok_and(|swap| swap > 0 && swap < memory) {
            sink.error(code::CONFLICT, span, "`memswap_limit` is less than `mem_limit`")
                .help("it is the limit of memory and swap together");
        }
    }
    if let (Some(reserved), Some(span)) = (resources.mem_reservation_bytes, at("mem_reservation"))
        && memory > 0
        && reserved > memory
    {
        sink.error(code::CONFLICT, span, "`mem_reservation` is more than `mem_limit`");
    }
}

/// `0-3`, `0,1`, `0-2,7`
fn cpuset(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let text = filled_text(sink, node, "cpuset")?;
    let number = |text: &str| text.parse::<u16>().ok();
    let is_range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(a, b)| a <= b),
        None => number(part).is_some(),
    };
    if text.split(',').all(is_range) {
        return Some(text);
    }
    sink.error(code::VALUE, node.span.clone(), "`cpuset` is not a list of CPUs")
        .help("such as `\"0-3\"`, `\"0,1\"` or `\"0-2,7\"`");
    None
}
