//! The `ringway` program as scripts see it: exit statuses, what goes where.
#![allow(clippy::unwrap_used, reason = "a test program")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("ringway-cli-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("conf.d")).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ringway(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(directory)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_config_prints_every_problem_of_every_file() {
    let scratch = Scratch::new("check");
    scratch.write("ringway.toml", "[mqtt]\nmax_qos = 3\n");
    scratch.write("conf.d/10-more.toml", "[log]\nlevel = 'loud'\nfile = 'x'\n");
    scratch.write("conf.d/ignored.txt", "not TOML");
    let output = ringway(&scratch.0, &["check-config", "ringway.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "ringway.toml:2:11: mqtt.max_qos: must be a number from 0 to 2, is 3\n\
        conf.d/10-more.toml:2:9: log.level: must be \"error\", \"warn\", \"info\", \"debug\" or \
        \"trace\", is \"loud\"\n\
        conf.d/10-more.toml:3:1: log.file: unknown key, known in this section are level, format\n";
    assert_eq!(text(&output.stdout), expected);

    scratch.write("ringway.toml", "[mqtt]\nmax_qos = 1\n");
    scratch.write("conf.d/10-more.toml", "");
    // The environment of this shell is not the service's.
    let variables = [("RINGWAY__MQTT__MAX_QOS", "9")];
    let output = ringway(&scratch.0, &["check-config", "ringway.toml"], &variables);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "ringway.toml: good\n");

    let output = ringway(&scratch.0, &["check-config", "absent.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("absent.toml: cannot read: "));
}

#[test]
fn config_prints_what_holds_and_can_be_read_again() {
    let scratch = Scratch::new("config");
    scratch.write("ringway.toml", "[session]\nmax_inflight = 7\n");
    let arguments = ["config", "--config", "ringway.toml"];
    let variables = [("RINGWAY__MQTT__MAX_QOS", "1")];
    let output = ringway(&scratch.0, &arguments, &variables);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("max_inflight = 7 ") && shown.contains("max_qos = 1 "),
        "{shown}"
    );
    assert!(shown.contains("# Memory at most"), "{shown}");
    scratch.write("ringway.toml", &shown);
    let again = ringway(&scratch.0, &arguments, &[]);
    assert_eq!(text(&again.stdout), shown);
}

#[test]
fn wrong_configuration_does_not_start() {
    let scratch = Scratch::new("serve");
    let arguments = ["serve", "--set", "mqtt.max_qos", "--cores", "x"];
    let output = ringway(&scratch.0, &arguments, &[("RINGWAY__LOG__LEVEL", "loud")]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[0].starts_with("RINGWAY__LOG__LEVEL: log.level: must be"),
        "{said}"
    );
    assert!(
        lines[1].starts_with("--cores: node.cores: must be"),
        "{said}"
    );
    assert_eq!(lines[2], "--set mqtt.max_qos: must be section.key=value");
    assert!(!scratch.0.join("ringway-data").exists());
}

#[test]
fn client_says_what_is_wrong() {
    let scratch = Scratch::new("client");
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["pub", "-t", "a", "-m", "x", "-p", "1"],
            1,
            "cannot connect to localhost:1",
        ),
        (
            &["sub", "-t", "a", "-p", "1"],
            1,
            "cannot connect to localhost:1",
        ),
        (&["sub", "-t", "a/#/b"], 2, "is no topic filter"),
        (&["sub", "-t", "a", "-F", "%z"], 2, "%z is not known"),
        (&["pub", "-t", "a"], 2, "required arguments"),
        (
            &["pub", "-t", "a", "-f", "absent"],
            1,
            "cannot read the payload",
        ),
        (&["bake"], 2, "unrecognized subcommand"),
    ];
    for (arguments, status, expected) in cases {
        let output = ringway(&scratch.0, arguments, &[]);
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}
