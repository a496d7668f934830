//! Who subscribed to what; asked once per topic of a publisher, not per message.

/// Where the messages of one topic go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) topic: Vec<u8>,
    /// Of the table when the route was looked up.
    pub(super) version: u64,
    pub(super) receivers: Vec<u32>,
    pub(super) groups: Vec<ShareGroup>,
}

/// Members of a shared subscription take turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShareGroup {
    filter: Vec<u8>,
    members: Vec<u32>,
    next: usize,
}

impl ShareGroup {
    pub(super) fn turn(&mut self) -> u32 {
        self.next = (self.next + 1) % self.members.len();
        self.members[self.next]
    }
}

#[derive(Default)]
pub(super) struct Table {
    /// Filter with its `$share` part, and the connection.
    subscriptions: Vec<(Vec<u8>, u32)>,
    /// Changes with every subscription; routes of older versions are looked up again.
    pub(super) version: u64,
}

impl Table {
    pub(super) fn subscribe(&mut self, filter: &[u8], slot: u32) {
        self.unsubscribe(filter, slot);
        self.subscriptions.push((filter.to_vec(), slot));
        self.version += 1;
    }

    pub(super) fn unsubscribe(&mut self, filter: &[u8], slot: u32) {
        self.subscriptions
            .retain(|(other, owner)| *owner != slot || other != filter);
        self.version += 1;
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|(_, owner)| *owner != slot);
        if self.subscriptions.len() < before {
            self.version += 1;
        }
    }

    pub(super) fn route(&self, topic: &[u8]) -> Route {
        let mut route = Route {
            topic: topic.to_vec(),
            version: self.version,
            ..Route::default()
        };
        for (filter, slot) in &self.subscriptions {
            let Some(plain) = without_share(filter) else {
                if matches(filter, topic) && !route.receivers.contains(slot) {
                    route.receivers.push(*slot);
                }
                continue;
            };
            if !matches(plain, topic) {
                continue;
            }
            let group = route
                .groups
                .iter_mut()
                .find(|group| group.filter == *filter);
            match group {
                Some(group) => group.members.push(*slot),
                None => route.groups.push(ShareGroup {
                    filter: filter.clone(),
                    members: vec![*slot],
                    next: 0,
                }),
            }
        }
        route
    }
}

/// The filter of `$share/NAME/FILTER`.
fn without_share(filter: &[u8]) -> Option<&[u8]> {
    let rest = filter.strip_prefix(b"$share/")?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    Some(&rest[end + 1..])
}

fn matches(filter: &[u8], topic: &[u8]) -> bool {
    let mut levels = topic.split(|byte| *byte == b'/');
    for wanted in filter.split(|byte| *byte == b'/') {
        if wanted == b"#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == b"+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_name_each_receiver_once() {
        let mut table = Table::default();
        let filters: [(&[u8], u32); 6] = [
            (b"a/+", 1),
            (b"a/#", 1),
            (b"a/b", 2),
            (b"a/c", 3),
            (b"$share/g/#", 4),
            (b"$share/g/#", 5),
        ];
        for (filter, slot) in filters {
            table.subscribe(filter, slot);
        }
        let mut route = table.route(b"a/b");
        assert_eq!(route.receivers, [1, 2]);
        let turns: Vec<_> = (0..4).map(|_| route.groups[0].turn()).collect();
        assert_eq!(turns, [5, 4, 5, 4]);

        table.remove(1);
        table.unsubscribe(b"$share/g/#", 4);
        assert!(table.version > route.version);
        let route = table.route(b"a/b");
        assert_eq!(
            (route.receivers, route.groups[0].members.clone()),
            (vec![2], vec![5])
        );
    }
}
