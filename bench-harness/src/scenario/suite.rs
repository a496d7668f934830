//! The scenarios of the Open MQTT Benchmark Suite.

use super::{Draft, PaceChoice};
use crate::load::{
    Action, ConnectPace, Expects, Group, LatencyFrom, Load, Placement, Publish, SourcePace, Step,
    Subscribe, Template, Tracking,
};

pub(super) fn conn_tcp(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [count, rate] = numbers else {
        return Err("N and R are needed".to_owned());
    };
    let rate = draft
        .options
        .connect_rate
        .unwrap_or_else(|| f64::from(*rate));
    let seconds = draft.options.duration_s;
    Ok(Load {
        groups: vec![client_group("client", *count)],
        steps: vec![
            measured(connect(vec![0], ConnectPace::PerSecond(rate))),
            measured(Action::Hold { seconds }),
        ],
    })
}

/// R is the rate of deliveries: the suite's 5 publishers at 50 messages/s to 1,000 subscribers are
/// 250K.
pub(super) fn fanout(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [publishers, subscribers, topics, deliveries] = *numbers else {
        return Err("P, S, T and R are needed".to_owned());
    };
    let per_client = streams_per_publisher(publishers, topics)?;
    let rate = PaceChoice::Rate(f64::from(deliveries) / f64::from(subscribers));
    let pace = draft.pace(publishers * per_client, rate, draft.topic().text.len());
    Ok(steady(
        draft,
        vec![
            draft.subscribers(
                subscribers,
                draft.everything(),
                all(publishers * per_client),
            ),
            draft.publishers(publishers, per_client, pace, subscribers),
        ],
    ))
}

pub(super) fn p2p(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [publishers, subscribers, topics, rate] = *numbers else {
        return Err("P, S, T and R are needed".to_owned());
    };
    if subscribers != topics {
        return Err("point to point: as many subscribers as topics".to_owned());
    }
    let per_client = streams_per_publisher(publishers, topics)?;
    let rate = PaceChoice::Rate(f64::from(rate));
    let pace = draft.pace(topics, rate, draft.topic().text.len());
    Ok(steady(
        draft,
        vec![
            draft.subscribers(subscribers, draft.topic(), own_stream()),
            draft.publishers(publishers, per_client, pace, 1),
        ],
    ))
}

pub(super) fn sharedsub(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [publishers, members, topics, rate] = *numbers else {
        return Err("P, S, T and R are needed".to_owned());
    };
    let per_client = streams_per_publisher(publishers, topics)?;
    let rate = PaceChoice::Rate(f64::from(rate));
    let pace = draft.pace(topics, rate, draft.topic().text.len());
    Ok(shared(draft, publishers, per_client, members, pace))
}

/// One shared subscription to everything.
pub(super) fn shared(
    draft: &Draft<'_>,
    publishers: u32,
    per_client: u32,
    members: u32,
    pace: SourcePace,
) -> Load {
    let filter = Template::new(format!("$share/benchmark/{}/#", draft.prefix));
    let mut group = draft.subscribers(members, filter, all(publishers * per_client));
    group.placement = Placement::Together;
    if let Some(subscribe) = &mut group.subscribe {
        subscribe.tracking = Tracking::Shared;
    }
    let publishers = draft.publishers(publishers, per_client, pace, 1);
    steady(draft, vec![group, publishers])
}

/// Connect everybody, subscribers first; load; wait for the last message.
pub(super) fn steady(draft: &Draft<'_>, groups: Vec<Group>) -> Load {
    let mut steps: Vec<_> = (0..groups.len() as u32)
        .map(|group| preparation(connect(vec![group], draft.connect_pace())))
        .collect();
    steps.push(measured(Action::Load {
        warm_up_s: draft.options.warm_up_s,
        seconds: draft.options.duration_s,
    }));
    steps.push(preparation(Action::Settle));
    Load { groups, steps }
}

pub(super) fn measured(action: Action) -> Step {
    Step {
        action,
        is_measured: true,
    }
}

pub(super) fn preparation(action: Action) -> Step {
    Step {
        action,
        is_measured: false,
    }
}

pub(super) fn connect(groups: Vec<u32>, pace: ConnectPace) -> Action {
    Action::Connect {
        groups,
        pace,
        forget: false,
    }
}

/// Clients that neither publish nor subscribe.
pub(super) fn client_group(name: &str, count: u32) -> Group {
    Group {
        name: name.to_owned(),
        count,
        placement: Placement::Spread,
        clean: true,
        subscribe: None,
        publish: None,
    }
}

pub(super) fn all(count: u32) -> Expects {
    Expects {
        first: 0,
        stride: 0,
        count,
    }
}

pub(super) fn own_stream() -> Expects {
    Expects {
        first: 0,
        stride: 1,
        count: 1,
    }
}

fn streams_per_publisher(publishers: u32, topics: u32) -> Result<u32, String> {
    if topics < publishers || !topics.is_multiple_of(publishers) {
        return Err("T must be a multiple of P: each publisher has topics of its own".to_owned());
    }
    Ok(topics / publishers)
}

impl Draft<'_> {
    /// A topic for each stream.
    pub(super) fn topic(&self) -> Template {
        Template::new(format!("{}/{{i}}", self.prefix))
    }

    /// The filter for the topics of all streams.
    pub(super) fn everything(&self) -> Template {
        Template::new(format!("{}/#", self.prefix))
    }

    pub(super) fn subscribers(&self, count: u32, filter: Template, expects: Expects) -> Group {
        let subscribe = Subscribe {
            filters: vec![filter],
            repeat: 1,
            qos: self.qos,
            expects: Some(expects),
            tracking: Tracking::Ordered,
            is_slow: false,
            read_bytes_per_s: None,
            latency_from: LatencyFrom::Intended,
        };
        Group {
            subscribe: Some(subscribe),
            ..client_group("subscriber", count)
        }
    }

    pub(super) fn publishers(
        &self,
        count: u32,
        per_client: u32,
        pace: SourcePace,
        fan_out: u32,
    ) -> Group {
        Group {
            publish: Some(self.publish(per_client, pace, fan_out)),
            ..client_group("publisher", count)
        }
    }

    /// Streams from number 0 on, with a topic each.
    pub(super) fn publish(&self, per_client: u32, pace: SourcePace, fan_out: u32) -> Publish {
        Publish {
            first_source: 0,
            per_client,
            topic: self.topic(),
            qos: self.qos,
            payload_bytes: self.payload_bytes,
            retain: false,
            pace,
            fan_out,
            fan_out_slow: 0,
        }
    }
}
