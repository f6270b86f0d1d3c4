//! A `docker compose exec` of a crontab: which service, and of which project.

use crate::model::validate_container_ref;

use super::caller::Caller;
use super::docker_line::{self, Flag, Line, exec_flags, lost, program_name};
use super::draft::literals;
use super::labels::compose_name;
use super::when::shown;

const COMPOSE_VALUED: [&str; 10] = [
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--project-directory",
    "--env-file",
    "--profile",
    "--ansi",
    "--parallel",
    "--progress",
];

pub(super) fn compose(
    words: &[String],
    caller: &Caller<'_>,
    line: &mut Line<'_, '_>,
) -> Result<String, String> {
    let (global, rest) = docker_line::flags(words, &COMPOSE_VALUED, &["--compatibility"])?;
    let (verb, rest) = rest
        .split_first()
        .ok_or_else(|| String::from("it names no command of Compose"))?;
    if verb == "run" {
        return Err(String::from(
            "`docker compose run` starts a service that its Compose file describes: write that as a job",
        ));
    }
    if verb != "exec" {
        return Err(format!("`docker compose {}` is no job", shown(verb)));
    }
    let mut valued = docker_line::EXEC_VALUED.to_vec();
    valued.push("--index");
    let (flags, rest) = docker_line::flags(rest, &valued, &docker_line::EXEC_BARE)?;
    // Without one it is the first here, too.
    if let Some(index) = flags.iter().rfind(|flag| flag.name == "--index")
        && let Some(index) = index.value.filter(|index| *index != "1")
    {
        return Err(format!(
            "it runs in container {} of its service: name that one, by `docker exec`",
            shown(index)
        ));
    }
    exec_flags(&flags, line);
    let [service, command @ ..] = rest else {
        return Err(String::from("it names no service"));
    };
    validate_container_ref(service).map_err(|error| error.to_string())?;
    if command.is_empty() {
        return Err(String::from("it names no command"));
    }
    let project = project(&global, caller, line).ok_or_else(|| {
        String::from("it does not say which project its service belongs to; `docker compose -p PROJECT` does")
    })?;
    if global.iter().any(|flag| flag.name == "--env-file") {
        lost(line, "`--env-file` of Compose");
    }
    line.job.exec_in_service(service, &project);
    line.job.set("command", literals(command));
    Ok(format!("{service}-{}", program_name(&command[0])))
}

/// The project of a call of Compose, which looks for it in this order.
fn project(global: &[Flag<'_>], caller: &Caller<'_>, line: &mut Line<'_, '_>) -> Option<String> {
    let values = |names: [&'static str; 2]| {
        let flags = global
            .iter()
            .filter(move |flag| names.contains(&flag.name.as_str()));
        flags.filter_map(|flag| flag.value)
    };
    let named = values(["-p", "--project-name"])
        .next_back()
        .or_else(|| caller.variable("COMPOSE_PROJECT_NAME"));
    if let Some(name) = named {
        return Some(compose_name(name)).filter(|name| !name.is_empty());
    }
    let folder = values(["--project-directory"; 2]).next_back();
    let first = values(["-f", "--file"]).next().or_else(|| {
        let separator = caller.variable("COMPOSE_PATH_SEPARATOR").unwrap_or(":");
        caller.variable("COMPOSE_FILE")?.split(separator).next()
    });
    let path = match (folder, first) {
        (Some(folder), _) => folder.to_owned(),
        // The folder of the file.
        (None, Some(file)) => format!("{file}/.."),
        (None, None) => String::from("."),
    };
    let name = compose_name(folder_name(caller.folder, &path)?);
    if name.is_empty() {
        return None;
    }
    line.report
        .advice(
            line.at.clone(),
            format!("its Compose project is taken to be `{name}`, after its folder"),
        )
        .help(
            "a `name` in its Compose file, or a `COMPOSE_PROJECT_NAME` in its `.env`, is not read: write that",
        );
    Some(name)
}

/// The name of a folder, on the way from another one; `None` when the way says nothing of it.
fn folder_name<'p>(from: Option<&'p str>, path: &'p str) -> Option<&'p str> {
    let from = from.filter(|_| !path.starts_with('/')).unwrap_or_default();
    let mut names = Vec::new();
    for name in from.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    names.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_by_its_way() {
        for (from, path, name) in [
            (Some("/opt/app"), ".", Some("app")),
            (Some("/opt/app/"), "./docker-compose.yml/..", Some("app")),
            (Some("/opt/app"), "../web/compose.yml/..", Some("web")),
            (Some("/opt/app"), "/srv/shop", Some("shop")),
            (Some("/"), ".", None),
            (Some(".."), ".", None),
            (None, "compose.yml/..", None),
            (None, "sub/compose.yml/..", Some("sub")),
            (None, "../../x/..", None),
        ] {
            assert_eq!(folder_name(from, path), name, "{from:?} {path}");
        }
    }
}
