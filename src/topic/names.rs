//! Syntax of topic names and topic filters, and what it means that a filter matches a name.

use crate::base::scan::contains_any;
use std::fmt;

/// Most bytes of a name or filter: their length has two bytes on the wire. [MQTT-4.7.3-3]
const TEXT_BYTES_MAX: usize = 65_535;
const SHARE_PREFIX: &str = "$share/";

/// Why a text is no topic name, topic filter or shared subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    Empty,
    /// [MQTT-4.7.0-1]
    WildcardInName,
    /// [MQTT-4.7.1-1], [MQTT-4.7.1-2]
    MisplacedWildcard,
    /// More levels than this broker is configured for.
    TooManyLevels,
    /// [MQTT-4.7.3-2]
    NullCharacter,
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    InvalidShare,
    /// [MQTT-4.7.3-3]
    TooLong,
}

impl fmt::Display for TopicError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "topic is empty",
            Self::WildcardInName => "topic name contains a wildcard",
            Self::MisplacedWildcard => "wildcard does not stand alone in its level",
            Self::TooManyLevels => "topic has too many levels",
            Self::NullCharacter => "topic contains the null character",
            Self::InvalidShare => "shared subscription lacks a valid name or a filter",
            Self::TooLong => "topic is longer than 65,535 bytes",
        })
    }
}

impl std::error::Error for TopicError {}

/// How many names a filter can match.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FilterKind {
    /// The one name with the same text.
    Exact,
    /// Many.
    Wildcard,
}

/// Accepts what a PUBLISH may carry. `levels_max` bounds the work of a match.
pub fn validate_topic_name(topic_name: &str, levels_max: u16) -> Result<(), TopicError> {
    // Most names are too short to have too many levels: for them one look is enough.
    let is_short = (1..usize::from(levels_max)).contains(&topic_name.len());
    if is_short && !contains_any(topic_name.as_bytes(), *b"\0+#") {
        return Ok(());
    }
    validate_text(topic_name, levels_max)?;
    if contains_any(topic_name.as_bytes(), *b"+#") {
        return Err(TopicError::WildcardInName);
    }
    Ok(())
}

/// Accepts what a SUBSCRIBE may carry, after [`split_shared`].
pub fn validate_topic_filter(
    topic_filter: &str,
    levels_max: u16,
) -> Result<FilterKind, TopicError> {
    validate_text(topic_filter, levels_max)?;
    let mut kind = FilterKind::Exact;
    let mut levels = topic_filter.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "+" => kind = FilterKind::Wildcard,
            "#" if levels.peek().is_none() => kind = FilterKind::Wildcard,
            _ if level.contains(['+', '#']) => return Err(TopicError::MisplacedWildcard),
            _ => {}
        }
    }
    Ok(kind)
}

fn validate_text(text: &str, levels_max: u16) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    if contains_any(text.as_bytes(), [0]) {
        return Err(TopicError::NullCharacter);
    }
    let separators_count = text.bytes().filter(|&byte| byte == b'/').count();
    if separators_count >= usize::from(levels_max) {
        return Err(TopicError::TooManyLevels);
    }
    Ok(())
}

/// Share name and topic filter of `$share/NAME/FILTER`; `None` for a filter of another form. The
/// filter is not validated here.
pub fn split_shared(topic_filter: &str) -> Result<Option<(&str, &str)>, TopicError> {
    let Some(rest) = topic_filter.strip_prefix(SHARE_PREFIX) else {
        return Ok(None);
    };
    match rest.split_once('/') {
        Some((share_name, filter))
            if !share_name.is_empty() && !share_name.contains(['+', '#']) && !filter.is_empty() =>
        {
            Ok(Some((share_name, filter)))
        }
        _ => Err(TopicError::InvalidShare),
    }
}

/// Whether a valid filter matches a valid name: the plain definition, which the structures of this
/// module have to agree with. Bytes are compared as they are. [MQTT-4.7.3-4]
#[must_use]
pub fn matches(topic_filter: &str, topic_name: &str) -> bool {
    if topic_name.starts_with('$') && topic_filter.starts_with(['+', '#']) {
        return false; // [MQTT-4.7.2-1]
    }
    let mut name_levels = topic_name.split('/');
    for filter_level in topic_filter.split('/') {
        if filter_level == "#" {
            return true;
        }
        match name_levels.next() {
            Some(name_level) if filter_level == "+" || filter_level == name_level => {}
            _ => return false,
        }
    }
    name_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use TopicError::*;

    const LEVELS_MAX: u16 = 8;

    #[test]
    fn topic_name_is_accepted_or_refused() {
        let check = |topic_name: &str, expected| {
            assert_eq!(
                validate_topic_name(topic_name, LEVELS_MAX),
                expected,
                "{topic_name:?}"
            );
        };
        check("sport/tennis/player1", Ok(()));
        check("/", Ok(()));
        check("//", Ok(()));
        check("a b/ß/\u{1F600}", Ok(()));
        check("$SYS/broker", Ok(()));
        // [MQTT-4.7.3-1]
        check("", Err(Empty));
        // [MQTT-4.7.0-1]
        check("sport/+", Err(WildcardInName));
        check("sport/#", Err(WildcardInName));
        check("C#", Err(WildcardInName));
        check("a+", Err(WildcardInName));
        // [MQTT-4.7.3-2]
        check("a\0b", Err(NullCharacter));
        // [MQTT-4.7.3-3]
        check(&"a".repeat(65_535), Ok(()));
        check(&"a".repeat(65_536), Err(TooLong));
        check("1/2/3/4/5/6/7/8", Ok(()));
        check("1/2/3/4/5/6/7/8/", Err(TooManyLevels));
    }

    #[test]
    fn topic_filter_is_accepted_or_refused() {
        let check = |topic_filter: &str, expected| {
            let found = validate_topic_filter(topic_filter, LEVELS_MAX);
            assert_eq!(found, expected, "{topic_filter:?}");
        };
        let (exact, wildcard) = (Ok(FilterKind::Exact), Ok(FilterKind::Wildcard));
        check("sport/tennis", exact);
        check("/", exact);
        check("$SYS/x", exact);
        // [MQTT-4.7.1-1]
        check("#", wildcard);
        check("/#", wildcard);
        check("sport/tennis/#", wildcard);
        check("sport/tennis#", Err(MisplacedWildcard));
        check("sport/tennis/#/ranking", Err(MisplacedWildcard));
        check("#/", Err(MisplacedWildcard));
        check("##", Err(MisplacedWildcard));
        // [MQTT-4.7.1-2]
        check("+", wildcard);
        check("+/tennis/#", wildcard);
        check("sport/+/player1", wildcard);
        check("/+", wildcard);
        check("+/", wildcard);
        check("sport+", Err(MisplacedWildcard));
        check("sport/+a/b", Err(MisplacedWildcard));
        check("++", Err(MisplacedWildcard));
        check("+#", Err(MisplacedWildcard));
        // [MQTT-4.7.3-1]
        check("", Err(Empty));
        // [MQTT-4.7.3-2]
        check("+/\0", Err(NullCharacter));
        // [MQTT-4.7.3-3]
        check(&"a".repeat(65_536), Err(TooLong));
        check("+/+/+/+/+/+/+/#", wildcard);
        check("+/+/+/+/+/+/+/+/#", Err(TooManyLevels));
    }

    #[test]
    fn deepest_filter_of_all_is_accepted() {
        let deep = "/".repeat(65_534);
        assert_eq!(
            validate_topic_filter(&deep, u16::MAX),
            Ok(FilterKind::Exact)
        );
        assert_eq!(validate_topic_filter(&deep, 65_534), Err(TooManyLevels));
    }

    #[test]
    fn shared_subscription_is_split_or_refused() {
        let check = |topic_filter: &str, expected| {
            assert_eq!(split_shared(topic_filter), expected, "{topic_filter:?}");
        };
        check("a/b", Ok(None));
        check("$share", Ok(None));
        check("$shared/a/b", Ok(None));
        check("$SHARE/a/b", Ok(None));
        check("$share/group/a/+", Ok(Some(("group", "a/+"))));
        check("$share/group//", Ok(Some(("group", "/"))));
        check("$share/group/$SYS/#", Ok(Some(("group", "$SYS/#"))));
        // [MQTT-4.8.2-1]
        check("$share/", Err(InvalidShare));
        check("$share//a", Err(InvalidShare));
        // [MQTT-4.8.2-2]
        check("$share/group", Err(InvalidShare));
        check("$share/group/", Err(InvalidShare));
        check("$share/gr+up/a", Err(InvalidShare));
        check("$share/#/a", Err(InvalidShare));
    }

    #[test]
    fn filter_matches_names_as_the_specification_shows() {
        let check = |topic_filter, topic_name, expected| {
            assert_eq!(
                matches(topic_filter, topic_name),
                expected,
                "{topic_filter} {topic_name}"
            );
        };
        // [MQTT-4.7.1-1]
        check("sport/tennis/player1/#", "sport/tennis/player1", true);
        check(
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        );
        check(
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        );
        check("sport/tennis/player1/#", "sport/tennis/player2", false);
        check("sport/#", "sport", true);
        check("#", "/", true);
        // [MQTT-4.7.1-2]
        check("sport/tennis/+", "sport/tennis/player1", true);
        check("sport/tennis/+", "sport/tennis/player1/ranking", false);
        check("sport/+", "sport", false);
        check("sport/+", "sport/", true);
        check("+/+", "/finance", true);
        check("/+", "/finance", true);
        check("+", "/finance", false);
        // [MQTT-4.7.2-1]
        check("#", "$SYS/a", false);
        check("+/a", "$SYS/a", false);
        check("+", "$SYS", false);
        check("$SYS/#", "$SYS/a", true);
        check("$SYS/+", "$SYS/a", true);
        check("a/+", "a/$SYS", true);
        // [MQTT-4.7.3-4]
        check("accounts", "Accounts", false);
        check("\u{C5}", "A\u{30A}", false);
        check("/finance", "finance", false);
        check("a//b", "a/b", false);
    }
}
