//! What `tls://` listeners need, may have and refuse.

use super::load::{Sources, load};
use super::problem::{Place, Problem};
use super::settings::{Settings, TlsSettings, TlsVersion};
use super::show::to_toml;
use super::tests::{EXPOSED, NOBODY, check, file, loaded};
use crate::base::random::Random;
use std::path::PathBuf;

fn listening(url: &str) -> Result<Settings, Vec<Problem>> {
    let sources = Sources {
        listen: vec![url.to_owned()],
        ..Sources::default()
    };
    load(&sources).map_err(|problems| problems.0)
}

#[test]
fn every_key_reaches_its_settings() {
    let part = "cert = '/a.pem'\nkey = 'b.pem'\nclient_ca = 'c'\ncrl = 'd'\n\
                require_client_cert = true\nmin_version = \"1.3\"\n";
    let all = TlsSettings {
        client_ca: Some(PathBuf::from("c")),
        crl: Some(PathBuf::from("d")),
        require_client_cert: true,
        min_version: TlsVersion::V1_3,
        ..TlsSettings::new(PathBuf::from("/a.pem"), PathBuf::from("b.pem"))
    };
    let few = TlsSettings::new(PathBuf::from("a"), PathBuf::from("b"));
    assert_eq!(few.min_version, TlsVersion::V1_2);
    let settings = loaded(&format!(
        "[[listener]]\nbind = 'tls://0.0.0.0:8883'\nallow_anonymous = false\n[listener.tls]\n{part}\
         [[listener]]\nbind = 'tls://127.0.0.1:0'\ntls.cert = 'a'\ntls.key = 'b'\n\
         [[listener]]\nbind = 'tcp://127.0.0.1:0'\n"
    ));
    let parts: Vec<_> = settings.listeners.iter().map(|it| it.tls.clone()).collect();
    assert_eq!(parts, [Some(all.clone()), Some(few), None]);
    let anonymous = settings.listeners.iter().map(|it| it.allow_anonymous);
    assert!(anonymous.eq([false, true, true]));

    let url = "tls://0.0.0.0:8883?tls.cert=/a.pem&tls.key=b.pem&tls.client_ca=c&tls.crl=d\
               &tls.require_client_cert=true&tls.min_version=1.3&max_connections=9";
    let listener = listening(url).unwrap().listeners.remove(0);
    assert_eq!(listener.tls, Some(all));
    assert_eq!(
        (listener.max_connections, listener.allow_anonymous),
        (9, false)
    );
}

#[test]
fn values_and_keys_that_are_none_are_refused() {
    let only = "must be the path of a PEM file";
    check(
        "[[listener]]\nbind = 'tls://127.0.0.1:1'\n[listener.tls]\ncert = ''\nkey = 1\n\
         client_ca = \"\"\ncrl = \"a\\u0000\"\nrequire_client_cert = 'yes'\nmin_version = 1.2\n\
         ciphers = 'all'\n",
        &[
            &format!("r.toml:4:8: listener.tls.cert: {only}, is \"\""),
            &format!("r.toml:5:7: listener.tls.key: {only}, is 1"),
            &format!("r.toml:6:13: listener.tls.client_ca: {only}, or left out, is \"\""),
            &format!("r.toml:7:7: listener.tls.crl: {only}, or left out, is \"a\\0\""),
            "r.toml:8:23: listener.tls.require_client_cert: must be true or false, is \"yes\"",
            "r.toml:9:15: listener.tls.min_version: must be \"1.2\" or \"1.3\", is a number with \
             a fraction",
            "r.toml:10:1: listener.tls.ciphers: unknown key, known in this section are cert, key, \
             client_ca, crl, require_client_cert, min_version",
        ],
    );
    let tls = |tls: &str| format!("[[listener]]\nbind = 'tcp://127.0.0.1:1'\n{tls}\n");
    let section = "listener.tls: must be a section [listener.tls], is";
    check(
        &tls("tls = true"),
        &[&format!("r.toml:3:1: {section} true or false")],
    );
    check(
        &tls("[[listener.tls]]"),
        &[&format!("r.toml:3:12: {section} a list")],
    );
    let url = "tls://127.0.0.1:1?tls.cert=a&tls.key=&tls.=b&tls=c";
    let problems = listening(url).unwrap_err();
    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["listener.tls.key", "listener.tls.", "listener.tls"]);
    assert!(
        problems
            .iter()
            .all(|it| it.place == Place::Outside(format!("--listen {url}")))
    );
}

#[test]
fn keys_that_need_each_other_are_named() {
    let missing = |name: &str, what: &str| {
        format!(
            "listener.tls.{name}: missing, a tls:// address needs a {what}: write {name} = \
             \"FILE\" under [listener.tls] (?tls.{name}=FILE behind a --listen URL)"
        )
    };
    let cert = format!("r.toml:2:8: {}", missing("cert", "certificate chain"));
    let key = format!("r.toml:2:8: {}", missing("key", "private key"));
    let plain = "listener.tls: stands on a tcp:// address, where nothing is encrypted: write \
                 tls://HOST:PORT there, or leave the keys of tls out";
    let required = "listener.tls.require_client_cert: true needs client_ca, the file that says \
                    who signs the clients' certificates: add it, or write false";
    let crl = "listener.tls.crl: needs client_ca, as without it no client is asked for a \
               certificate: add it, or leave crl out";
    let both = "cert = 'a'\nkey = 'b'";
    let cases: &[(&str, &str, &[&str])] = &[
        ("tls://127.0.0.1:1", "", &[&cert, &key]),
        ("tls://127.0.0.1:1", "[listener.tls]", &[&cert, &key]),
        ("tls://127.0.0.1:1", "tls.key = 'b'", &[&cert]),
        ("tls://127.0.0.1:1", "tls.cert = 'a'", &[&key]),
        (
            "tls://0.0.0.0:1",
            "allow_anonymous = true\ntls.cert = 'a'",
            &[&key],
        ),
        (
            "tcp://127.0.0.1:1",
            "[listener.tls]",
            &[&format!("r.toml:3:11: {plain}")],
        ),
        (
            "tcp://127.0.0.1:1",
            "tls.cert = 'a'",
            &[&format!("r.toml:3:1: {plain}")],
        ),
        (
            "tcp://0.0.0.0:1",
            "tls.client_ca = 'c'\ntls.require_client_cert = true",
            &[&format!("r.toml:3:1: {plain}")],
        ),
        (
            "tls://0.0.0.0:1",
            &format!("[listener.tls]\n{both}\ncrl = 'd'\nrequire_client_cert = true"),
            &[
                &format!("r.toml:7:23: {required}"),
                &format!("r.toml:6:7: {crl}"),
            ],
        ),
        (
            "tls://127.0.0.1:1",
            &format!("[listener.tls]\n{both}\nrequire_client_cert = false"),
            &[],
        ),
        // What is refused is not said to need something as well.
        (
            "tls://127.0.0.1:1",
            &format!("[listener.tls]\n{both}\ncrl = ''"),
            &["r.toml:6:7: listener.tls.crl: must be the path of a PEM file, or left out, is \"\""],
        ),
        (
            "nowhere",
            &format!("[listener.tls]\n{both}\ncrl = 'd'"),
            &[
                "r.toml:2:8: listener.bind: must be tcp://HOST:PORT or tls://HOST:PORT, for \
                 example tcp://127.0.0.1:1883, is \"nowhere\"",
                &format!("r.toml:6:7: {crl}"),
            ],
        ),
    ];
    for (bind, rest, expected) in cases {
        check(
            &format!("[[listener]]\nbind = '{bind}'\n{rest}\n"),
            expected,
        );
    }
}

#[test]
fn clients_are_asked_or_let_in_on_purpose() {
    let exposed = format!("r.toml:2:8: listener.bind: {EXPOSED}");
    let nobody = format!("r.toml:3:19: listener.allow_anonymous: {NOBODY}");
    let required = "client_ca = 'c'\nrequire_client_cert = true\n";
    let cases: &[(&str, &str, &str, &[&str])] = &[
        ("0.0.0.0", "", required, &[]),
        ("0.0.0.0", "allow_anonymous = false\n", required, &[]),
        ("0.0.0.0", "allow_anonymous = true\n", required, &[]),
        ("127.0.0.1", "allow_anonymous = false\n", required, &[]),
        // A certificate that a client may leave out asks nobody.
        ("0.0.0.0", "", "client_ca = 'c'\n", &[&exposed]),
        ("0.0.0.0", "allow_anonymous = false\n", "", &[&nobody]),
        (
            "127.0.0.1",
            "allow_anonymous = false\n",
            "client_ca = 'c'\n",
            &[&nobody],
        ),
        ("0.0.0.0", "allow_anonymous = true\n", "", &[]),
        ("127.0.0.1", "", "", &[]),
    ];
    for (host, anonymous, part, expected) in cases {
        let text = format!(
            "[[listener]]\nbind = 'tls://{host}:1'\n{anonymous}[listener.tls]\ncert = 'a'\n\
             key = 'b'\n{part}"
        );
        check(&text, expected);
    }
}

#[test]
fn one_port_is_listened_on_once_whatever_is_spoken() {
    check(
        "[[listener]]\nbind = 'tcp://127.0.0.1:1'\n[[listener]]\nbind = 'tls://127.0.0.1:1'\n\
         tls.cert = 'a'\ntls.key = 'b'\n",
        &["r.toml:4:8: listener.bind: tls://127.0.0.1:1 is listened on already"],
    );
}

#[test]
fn shown_part_has_no_line_for_what_is_left_out() {
    let text = "[[listener]]\nbind = 'tls://[::1]:7'\ntls.cert = 'a'\ntls.key = 'b'\n\
                [[listener]]\nbind = 'tcp://[::1]:8'\n";
    let shown = to_toml(&loaded(text));
    let part = shown.split("[listener.tls]\n").nth(1).unwrap();
    let lines = part.lines().take_while(|line| !line.is_empty());
    let names: Vec<_> = lines.filter_map(|line| line.split(" = ").next()).collect();
    assert_eq!(names, ["cert", "key", "require_client_cert", "min_version"]);
    assert_eq!(shown.matches("[listener.tls]").count(), 1);
}

/// Keys of a listener with values that fit and that do not.
const CHOICES: &[(&str, &[&str])] = &[
    ("allow_anonymous", &["true", "false"]),
    ("max_connections", &["7"]),
    ("tls.cert", &["a.pem", "/b c.pem", ""]),
    ("tls.key", &["a.pem", "../k'\"", ""]),
    ("tls.client_ca", &["c", ""]),
    ("tls.crl", &["d", ""]),
    ("tls.require_client_cert", &["true", "false"]),
    ("tls.min_version", &["1.2", "1.3", "1.1"]),
];

/// A listener as an entry of a file and as a URL.
fn draw_listener(random: &mut Random) -> (String, String) {
    let mut draw = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap_or_default();
    let scheme = ["tls", "tls", "tls", "tcp"][draw(4)];
    let host = ["127.0.0.1", "0.0.0.0", "[::1]"][draw(3)];
    let bind = format!("{scheme}://{host}:1");
    let (mut text, mut url) = (format!("[[listener]]\nbind = '{bind}'\n"), bind + "?");
    for (name, values) in CHOICES {
        // Certificate and key are nearly always there, as otherwise hardly anything would load.
        let bound = if matches!(*name, "tls.cert" | "tls.key") {
            12
        } else {
            2
        };
        if draw(bound) == 1 {
            continue;
        }
        let good = draw(8) > 0;
        let value = values[if good { 0 } else { draw(values.len()) }];
        let bare = matches!(value, "true" | "false" | "7");
        let toml = toml::Value::String(value.to_owned()).to_string();
        text += &format!("{name} = {}\n", if bare { value } else { &toml });
        url += &format!("{name}={value}&");
    }
    (text, url)
}

/// A listener means the same in a file and as a URL, and what loads is shown as what it is.
#[test]
fn random_listeners_mean_the_same_in_every_form() {
    let mut random = Random::new(11);
    let (mut encrypted, mut refused) = (0, 0);
    for _ in 0..3000 {
        let (text, url) = draw_listener(&mut random);
        let sources = |text: String| Sources {
            files: vec![file("r.toml", &text)],
            ..Sources::default()
        };
        match (load(&sources(text.clone())), listening(&url)) {
            (Ok(from_file), Ok(from_url)) => {
                assert_eq!(from_file, from_url, "{text}{url}");
                let again = load(&sources(to_toml(&from_file)));
                assert_eq!(again.as_ref(), Ok(&from_file), "{text}");
                let listener = &from_file.listeners[0];
                let is_tls = listener.bind.scheme.name() == "tls";
                assert_eq!(listener.tls.is_some(), is_tls, "{text}");
                encrypted += usize::from(is_tls);
            }
            (Err(from_file), Err(from_url)) => {
                let said = |problems: Vec<Problem>| {
                    let mut said: Vec<_> =
                        problems.into_iter().map(|it| (it.key, it.what)).collect();
                    said.sort();
                    said
                };
                assert_eq!(said(from_file.0), said(from_url), "{text}{url}");
                refused += 1;
            }
            (from_file, from_url) => panic!("{text}{url}\n{from_file:?}\n{from_url:?}"),
        }
    }
    assert!(encrypted > 300 && refused > 300, "{encrypted} {refused}");
}
