//! The body of the fuzz target `config`: nothing in a configuration file may panic the program.

use super::load::{FileText, Override, Sources, load};
use super::show::to_toml;

/// Loads `bytes` as a file, as an override and as a listener. What loads must be shown as a text
/// that loads to the same settings; what is refused must be said in one line each.
///
/// # Panics
/// When one of these does not hold.
pub fn exercise_config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (key, value) = text.split_once('=').unwrap_or((&text, ""));
    check(&Sources {
        overrides: vec![Override {
            name: "--set".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        }],
        ..Sources::default()
    });
    check(&Sources {
        listen: vec![text.clone()],
        ..Sources::default()
    });
    check(&file(text));
}

fn file(text: String) -> Sources {
    Sources {
        files: vec![FileText {
            name: "fuzz.toml".to_owned(),
            text,
        }],
        ..Sources::default()
    }
}

fn check(sources: &Sources) {
    match load(sources) {
        Ok(settings) => {
            let again = load(&file(to_toml(&settings)));
            assert_eq!(
                again.as_ref(),
                Ok(&settings),
                "shown settings load differently"
            );
        }
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            for problem in problems.0 {
                assert!(
                    !problem.to_string().contains('\n'),
                    "more than one line: {problem}"
                );
            }
        }
    }
}
