//! Command lines and what they ask for, or what is wrong with them.

use super::{Arguments, Command};
use crate::client::options::ConnectOptions;
use crate::codec::ProtocolVersion;
use clap::{CommandFactory, Parser};

#[test]
fn arguments_are_consistent() {
    Arguments::command().debug_assert();
}

/// The connection that `ringway pub ARGUMENTS` asks for.
fn connection(arguments: &str) -> Result<ConnectOptions, String> {
    let words = format!("ringway pub -t t -n {arguments}");
    match Arguments::try_parse_from(words.split_whitespace()) {
        Ok(Arguments {
            command: Some(Command::Pub(arguments)),
        }) => arguments.client().options(),
        Ok(_) => panic!("not the command"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn connection_follows_its_flags() {
    let options = connection("").unwrap();
    assert_eq!((options.host.as_str(), options.port), ("localhost", 1883));
    assert_eq!(options.version, ProtocolVersion::V5);
    assert!(options.clean_start && options.client_id.is_empty());

    let options = connection("-h h -p 1 -V mqttv311 -i me -u u -P -p -k 5 -c").unwrap();
    assert_eq!((options.host.as_str(), options.port), ("h", 1));
    assert_eq!(options.version, ProtocolVersion::V311);
    assert_eq!(
        (options.client_id.as_str(), options.keep_alive_s),
        ("me", 5)
    );
    assert_eq!(options.password.as_deref(), Some(&b"-p"[..]));
    assert!(!options.clean_start);
    assert_eq!(options.session_expiry_interval_s, None);

    let expiry = |flags: &str| connection(flags).unwrap().session_expiry_interval_s;
    assert_eq!(expiry("-i me -c"), Some(u32::MAX));
    assert_eq!(expiry("-i me -c -x 7"), Some(7));

    let options = connection("-V 31 --will-topic w --will-payload -1 --will-qos 2").unwrap();
    assert_eq!(options.client_id.len(), 23);
    assert_eq!(options.will.unwrap().payload, b"-1");
}

#[test]
fn wrong_flags_are_said() {
    let cases = [
        ("-c", "needs --id"),
        ("-V 311 -x 5", "needs MQTT 5.0"),
        ("-V 4", "must be 31, 311 or 5"),
        ("-V 311 -P secret", "needs --username"),
        ("--will-topic a/#", "without wildcards"),
        ("--will-payload x", "--will-topic"),
        ("-q 3", "must be 0, 1 or 2"),
        ("--user-property x", "must be NAME=VALUE"),
        ("--topic-alias 0", "0 is not in 1.."),
        ("--repeat-delay -1", "unexpected argument"),
        ("-m x", "cannot be used with"),
    ];
    for (flags, expected) in cases {
        let message = connection(flags).unwrap_err();
        assert!(message.contains(expected), "{flags}: {message}");
    }
}
