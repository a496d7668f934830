//! Mount points: what stands before every topic name and filter of a listener's clients, unseen by
//! them. Inside the broker all names are whole; they are mounted where a packet comes in and
//! unmounted in the head of each PUBLISH that goes out.

use super::Shard;
use crate::base::ids::ConnectionId;
use crate::config::limits::Limits;
use crate::topic::names::split_shared;
use std::borrow::Cow;
use std::rc::Rc;

/// By listener; `None`: its clients see topics as they are.
pub(super) fn mount_points(limits: &Limits) -> Box<[Option<Rc<str>>]> {
    let listeners = limits.listeners.iter();
    let texts = listeners.map(|listener| &*listener.mount_point);
    texts
        .map(|text| (!text.is_empty()).then(|| text.into()))
        .collect()
}

/// The name as the broker knows it.
pub(super) fn mounted_name<'a>(mount_point: Option<&str>, topic_name: &'a str) -> Cow<'a, str> {
    match mount_point {
        None => Cow::Borrowed(topic_name),
        Some(mount_point) => Cow::Owned([mount_point, topic_name].concat()),
    }
}

/// The filter as the broker knows it; of a shared subscription the filter behind the share name. A
/// filter that is refused anyway stays as it is.
pub(super) fn mounted_filter<'a>(mount_point: Option<&str>, topic_filter: &'a str) -> Cow<'a, str> {
    let Some(mount_point) = mount_point else {
        return Cow::Borrowed(topic_filter);
    };
    match split_shared(topic_filter) {
        Ok(None) if topic_filter.is_empty() => Cow::Borrowed(topic_filter),
        Ok(None) => Cow::Owned([mount_point, topic_filter].concat()),
        Ok(Some((share_name, filter))) => {
            Cow::Owned(["$share/", share_name, "/", mount_point, filter].concat())
        }
        Err(_) => Cow::Borrowed(topic_filter),
    }
}

impl Shard {
    /// The mount point of the connection's listener.
    pub(super) fn mount_point(&self, id: ConnectionId) -> Option<Rc<str>> {
        let listener = self.connection(id)?.origin.listener;
        self.mount_points.get(usize::from(listener))?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_mounted_behind_a_share_name() {
        let check = |filter: &str, mounted: &str| {
            assert_eq!(mounted_filter(Some("tenant/"), filter), mounted);
            assert_eq!(mounted_filter(None, filter), filter);
        };
        check("a/+", "tenant/a/+");
        check("#", "tenant/#");
        check("$share/g/a/#", "$share/g/tenant/a/#");
        check("$SYS/#", "tenant/$SYS/#");
        check("", "");
        check("$share/g", "$share/g");
    }
}
