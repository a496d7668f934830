//! Data directories in the system's temporary directory, one per test.

use super::data_dir::DataDir;
use super::error::DataDirError;
use super::identity::{FORMAT, Identity, hex};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// An empty place of its own for the test `name`.
fn place(name: &str) -> PathBuf {
    let directory = format!("ringway-node-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(directory);
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn identity_stays_over_starts_and_core_counts() {
    let path = place("identity").join("deeper");
    let first = DataDir::open(&path, 2).unwrap().identity().clone();
    let mut open = DataDir::open(&path, 4).unwrap();
    let again = open.identity().clone();
    assert_eq!(first.id, again.id);
    assert!(first.home_key == again.home_key);
    // The journals are of two shards until somebody has moved them.
    assert_eq!((first.shard_count, again.shard_count), (2, 2));
    open.record_shard_count(4).unwrap();
    drop(open);
    let open = DataDir::open(&path, 4).unwrap();
    assert_eq!(open.identity(), &first.with_shard_count(4));
    let text = std::fs::read_to_string(path.join("node.toml")).unwrap();
    assert!(text.contains("shard_count = 4"));
    assert!(text.contains(&hex(&first.id)));
    let mode = std::fs::metadata(path.join("node.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let _ = std::fs::remove_dir_all(path.parent().unwrap());
}

#[test]
fn earlier_format_becomes_the_present_one() {
    let path = place("earlier");
    let first = DataDir::open(&path, 1).unwrap().identity().clone();
    let file = path.join("node.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("format = 2", "format = 1")).unwrap();
    assert_eq!(DataDir::open(&path, 3).unwrap().identity(), &first);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let _ = std::fs::remove_dir_all(&path);
}

#[test]
fn second_holder_is_told_who_holds_it() {
    let path = place("lock");
    let held = DataDir::open(&path, 1).unwrap();
    let error = DataDir::open(&path, 1).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, DataDirError::InUse { pid, .. } if pid == Some(std::process::id())));
    assert!(message.contains(&format!("in use by process {}", std::process::id())));
    drop(held);
    DataDir::open(&path, 1).unwrap();
    let _ = std::fs::remove_dir_all(&path);
}

#[test]
fn identity_text_is_read_or_refused() {
    let good = Identity::new([0xAB; 16], [7; 16], 3);
    let path = Path::new("node.toml");
    let read = Identity::from_text(&good.to_text(), path).unwrap();
    assert_eq!(read, (good.clone(), FORMAT));
    let old = good.to_text().replace("format = 2", "format = 1");
    assert_eq!(Identity::from_text(&old, path).unwrap(), (good.clone(), 1));
    let id = "id = \"abababababababababababababababab\"\n";
    let cases = [
        (
            "format = 3\nnew = 1".to_owned(),
            "has format 3, this Ringway reads up to 2",
        ),
        ("format = 0".to_owned(), "format is 0"),
        (String::new(), "missing field `format`"),
        ("format = 1".to_owned(), "missing field `id`"),
        (
            format!("format = 1\n{id}home_key = \"ab\"\nshard_count = 1"),
            "home_key is not 32 hexadecimal digits",
        ),
        (
            good.to_text().replace("shard_count = 3", "shard_count = 0"),
            "shard_count is 0",
        ),
        (
            good.to_text().replace("abab", "abag"),
            "id is not 32 hexadecimal digits",
        ),
        ("\0\0\0\0".to_owned(), "damaged"),
    ];
    for (text, expected) in cases {
        let message = Identity::from_text(&text, path).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn unusable_place_is_refused_with_its_path() {
    let path = place("file");
    std::fs::write(&path, b"a file").unwrap();
    let message = DataDir::open(&path.join("below"), 1)
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot make data directory "),
        "{message}"
    );
    assert!(message.contains("ringway-node-"), "{message}");
    let _ = std::fs::remove_file(&path);
}
