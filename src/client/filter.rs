//! Topic names and filters as far as a client has to know them.

/// Whether a message may be published to `name`.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    is_topic(name) && !name.contains(['+', '#'])
}

/// Whether `filter` may be subscribed to.
#[must_use]
pub fn is_topic_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let wildcard_alone = level.len() == 1 || !level.contains(['+', '#']);
        if !wildcard_alone || (level == "#" && levels.peek().is_some()) {
            return false;
        }
    }
    is_topic(filter)
}

fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= usize::from(u16::MAX) && !topic.contains('\0')
}

/// Whether `filter` matches `name`; wildcards at the start match no name that starts with `$`.
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut name_levels = name.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match name_levels.next() {
            Some(name_level) if level == "+" || level == name_level => {}
            _ => return false,
        }
    }
    name_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_matches_as_the_broker_does() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("+/+", "/a", true),
        ];
        for (filter, name, expected) in cases {
            assert_eq!(matches(filter, name), expected, "{filter} {name}");
        }
    }

    #[test]
    fn topics_are_checked() {
        for filter in ["a", "/", "+", "#", "a/+/b", "a/#", "+/#"] {
            assert!(is_topic_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "a+/b", "#/a", "\0"] {
            assert!(!is_topic_filter(filter), "{filter}");
        }
        assert!(is_topic_name("a/b"));
        assert!(!is_topic_name("a/+"));
        assert!(!is_topic_name(&"a".repeat(65_536)));
    }
}
