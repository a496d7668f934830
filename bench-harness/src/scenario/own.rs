//! Scenarios beyond the suite: closed loops, storms, idle fleets, and what needs state.

use super::suite::{all, connect, measured, own_stream, p2p, preparation, shared, steady};
use super::{Draft, PaceChoice};
use crate::load::{
    Action, ConnectPace, Expects, Group, LatencyFrom, Load, Publish, SourcePace, Step, Template,
    Tracking,
};

const WINDOW: PaceChoice = PaceChoice::WindowBytes(64 * 1024);
const ONE: PaceChoice = PaceChoice::InFlight(1);
/// Handshakes under way on each thread in a storm: as many as a listener's queue usually takes.
const STORM: ConnectPace = ConnectPace::InFlight(4_096);
const RECONNECT_ROUNDS: usize = 3;
/// Clients that hold the filters that match nothing.
const WILD_HOLDERS: u32 = 10;
/// Far below any useful rate: kernel buffers fill up and the broker has to decide.
const SLOW_BYTES_PER_S: u32 = 1_024;
/// Commands make up a tenth of a mixed fleet's messages.
const COMMAND_SHARE: f64 = 0.1;

fn one(numbers: &[u32]) -> u32 {
    numbers.first().copied().unwrap_or(1)
}

pub(super) fn pairs(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [count, rate] = *numbers else {
        return Err("N and R are needed".to_owned());
    };
    p2p(draft, &[count, count, count, rate])
}

pub(super) fn pairs_saturated(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    Ok(closed_pairs(draft, one(numbers), WINDOW))
}

pub(super) fn pairs_one(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    Ok(closed_pairs(draft, one(numbers), ONE))
}

fn closed_pairs(draft: &Draft<'_>, count: u32, choice: PaceChoice) -> Load {
    let topic = draft.topic();
    let pace = draft.pace(count, choice, topic.text.len());
    let subscribers = draft.subscribers(count, topic, own_stream());
    steady(
        draft,
        vec![subscribers, draft.publishers(count, 1, pace, 1)],
    )
}

pub(super) fn fanin(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [publishers, subscribers, rate] = *numbers else {
        return Err("P, S and R are needed".to_owned());
    };
    let rate = PaceChoice::Rate(f64::from(rate));
    let pace = draft.pace(publishers, rate, draft.topic().text.len());
    let receivers = draft.subscribers(subscribers, draft.everything(), all(publishers));
    let senders = draft.publishers(publishers, 1, pace, subscribers);
    Ok(steady(draft, vec![receivers, senders]))
}

pub(super) fn fanout_saturated(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [publishers, subscribers] = *numbers else {
        return Err("P and S are needed".to_owned());
    };
    let pace = draft.pace(publishers, WINDOW, draft.topic().text.len());
    let receivers = draft.subscribers(subscribers, draft.everything(), all(publishers));
    let senders = draft.publishers(publishers, 1, pace, subscribers);
    Ok(steady(draft, vec![receivers, senders]))
}

pub(super) fn sharedsub_saturated(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [publishers, members] = *numbers else {
        return Err("P and S are needed".to_owned());
    };
    let pace = draft.pace(publishers, WINDOW, draft.topic().text.len());
    Ok(shared(draft, publishers, 1, members, pace))
}

/// A subscriber that nobody publishes to.
fn quiet(draft: &Draft<'_>, count: u32) -> Group {
    let mut group = draft.subscribers(count, draft.topic(), own_stream());
    "client".clone_into(&mut group.name);
    if let Some(subscribe) = &mut group.subscribe {
        subscribe.expects = None;
    }
    group
}

pub(super) fn idle(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let (warm_up, seconds) = (draft.options.warm_up_s, draft.options.duration_s);
    Ok(Load {
        groups: vec![quiet(draft, one(numbers))],
        steps: vec![
            preparation(connect(vec![0], draft.connect_pace())),
            preparation(Action::Hold { seconds: warm_up }),
            measured(Action::Hold { seconds }),
        ],
    })
}

pub(super) fn idle_persistent(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let mut load = idle(draft, numbers)?;
    load.groups[0].clean = false;
    load.steps.extend(forget(draft, 0));
    Ok(load)
}

fn storm_pace(draft: &Draft<'_>) -> ConnectPace {
    let rate = draft.options.connect_rate;
    rate.map_or(STORM, ConnectPace::PerSecond)
}

pub(super) fn conn_storm(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    Ok(Load {
        groups: vec![quiet(draft, one(numbers))],
        steps: vec![measured(connect(vec![0], storm_pace(draft)))],
    })
}

pub(super) fn reconnect_storm(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let mut steps = vec![preparation(connect(vec![0], draft.connect_pace()))];
    for _ in 0..RECONNECT_ROUNDS {
        steps.push(measured(close(vec![0], true)));
        steps.push(measured(connect(vec![0], storm_pace(draft))));
    }
    Ok(Load {
        groups: vec![quiet(draft, one(numbers))],
        steps,
    })
}

fn close(groups: Vec<u32>, is_abrupt: bool) -> Action {
    Action::Close { groups, is_abrupt }
}

/// The filters that do not match differ from the topic at each of its levels, behind exact and
/// wildcard levels, so that neither the first nor the last level alone rules them out.
pub(super) fn wild(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let filters = one(numbers);
    let prefix = &draft.prefix;
    let topic = Template::new(format!("{prefix}/site/device/status"));
    let pace = draft.pace(1, WINDOW, topic.text.len());

    let matching = Template::new(format!("{prefix}/+/device/status"));
    let receiver = draft.subscribers(1, matching, all(1));
    let shapes = [
        "+/device{i}/status",
        "site{i}/+/status",
        "+/+/status{i}",
        "site{i}/#",
    ];
    let mut holders = quiet(draft, WILD_HOLDERS);
    "holder".clone_into(&mut holders.name);
    if let Some(subscribe) = &mut holders.subscribe {
        subscribe.filters = shapes
            .map(|shape| Template::new(format!("{prefix}/{shape}")))
            .to_vec();
        subscribe.repeat = filters.div_ceil(WILD_HOLDERS * shapes.len() as u32);
    }
    let mut sender = draft.publishers(1, 1, pace, 1);
    if let Some(publish) = &mut sender.publish {
        publish.topic = topic;
    }
    Ok(steady(draft, vec![holders, receiver, sender]))
}

pub(super) fn retained_storm(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [topics, subscribers] = *numbers else {
        return Err("T and S are needed".to_owned());
    };
    let mut receivers = draft.subscribers(subscribers, draft.everything(), all(1));
    if let Some(subscribe) = &mut receivers.subscribe {
        subscribe.tracking = Tracking::Unordered;
        subscribe.latency_from = LatencyFrom::Connect;
    }
    let mut sender = draft.publishers(1, 1, draft.pace(1, WINDOW, 16), subscribers);
    if let Some(publish) = &mut sender.publish {
        publish.retain = true;
        publish.topic = Template::new(format!("{}/{{i}}/{{s}}", draft.prefix));
    }
    let fill = |erase| Action::Fill {
        group: 1,
        messages: u64::from(topics),
        erase,
    };
    Ok(Load {
        groups: vec![receivers, sender],
        steps: vec![
            preparation(connect(vec![1], draft.connect_pace())),
            preparation(fill(false)),
            measured(connect(vec![0], draft.connect_pace())),
            measured(Action::Settle),
            preparation(close(vec![0], false)),
            preparation(fill(true)),
        ],
    })
}

pub(super) fn offline(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [sessions, messages] = *numbers else {
        return Err("S and M are needed".to_owned());
    };
    let mut receivers = draft.subscribers(sessions, draft.topic(), own_stream());
    receivers.clean = false;
    if let Some(subscribe) = &mut receivers.subscribe {
        subscribe.latency_from = LatencyFrom::Connect;
    }
    let pace = draft.pace(sessions, WINDOW, 16);
    let senders = draft.publishers(sessions, 1, pace, 1);
    let mut steps = vec![
        preparation(connect(vec![0], draft.connect_pace())),
        preparation(close(vec![0], false)),
        preparation(connect(vec![1], draft.connect_pace())),
        preparation(Action::Fill {
            group: 1,
            messages: u64::from(messages),
            erase: false,
        }),
        measured(connect(vec![0], storm_pace(draft))),
        measured(Action::Settle),
    ];
    steps.extend(forget(draft, 0));
    Ok(Load {
        groups: vec![receivers, senders],
        steps,
    })
}

/// Leaves no session behind in the broker.
fn forget(draft: &Draft<'_>, group: u32) -> [Step; 3] {
    let connect = Action::Connect {
        groups: vec![group],
        pace: draft.connect_pace(),
        forget: true,
    };
    let end = || close(vec![group], false);
    [end(), connect, end()].map(preparation)
}

pub(super) fn durable_p2p(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let mut load = p2p(draft, numbers)?;
    load.groups[0].clean = false;
    load.steps.extend(forget(draft, 0));
    Ok(load)
}

pub(super) fn slow(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [healthy, slow, deliveries] = *numbers else {
        return Err("H, S and R are needed".to_owned());
    };
    let rate = PaceChoice::Rate(f64::from(deliveries) / f64::from(healthy));
    let pace = draft.pace(1, rate, draft.topic().text.len());
    let mut dull = draft.subscribers(slow, draft.everything(), all(1));
    "slow".clone_into(&mut dull.name);
    if let Some(subscribe) = &mut dull.subscribe {
        subscribe.is_slow = true;
        subscribe.read_bytes_per_s = Some(SLOW_BYTES_PER_S);
    }
    let receivers = draft.subscribers(healthy, draft.everything(), all(1));
    let mut sender = draft.publishers(1, 1, pace, healthy);
    if let Some(publish) = &mut sender.publish {
        publish.fan_out_slow = slow;
    }
    Ok(steady(draft, vec![receivers, dull, sender]))
}

/// Sensors report to the services and to the dashboard of their site, and take commands; each
/// service commands a part of the sensors.
pub(super) fn mixed(draft: &Draft<'_>, numbers: &[u32]) -> Result<Load, String> {
    let [sensors, dashboards, services, rate] = *numbers else {
        return Err("N, D, S and R are needed".to_owned());
    };
    if !sensors.is_multiple_of(dashboards) || !sensors.is_multiple_of(services) {
        return Err("N must be a multiple of D and of S".to_owned());
    }
    let prefix = &draft.prefix;
    let site = sensors / dashboards;
    let reports = Template::in_blocks(format!("{prefix}/site/{{b}}/sensor/{{i}}"), site);
    let commands = Template::new(format!("{prefix}/command/{{i}}"));
    let rate = match draft.options.pace {
        Some(PaceChoice::Rate(rate)) => rate,
        Some(_) => return Err("a mixed fleet has no closed loop".to_owned()),
        None => f64::from(rate),
    };
    let pace = |share: f64| SourcePace::Open {
        arrivals: draft.options.arrivals,
        messages_per_s: share * rate / f64::from(sensors),
    };

    let mut fleet = draft.subscribers(sensors, commands.clone(), own_stream());
    "sensor".clone_into(&mut fleet.name);
    if let Some(subscribe) = &mut fleet.subscribe {
        subscribe.expects = Some(Expects {
            first: sensors,
            stride: 1,
            count: 1,
        });
    }
    fleet.publish = Some(Publish {
        topic: reports,
        ..draft.publish(1, pace(1.0 - COMMAND_SHARE), 1 + services)
    });

    let watched = Template::new(format!("{prefix}/site/{{i}}/sensor/+"));
    let sites = Expects {
        first: 0,
        stride: site,
        count: site,
    };
    let mut screens = draft.subscribers(dashboards, watched, sites);
    "dashboard".clone_into(&mut screens.name);

    let heard = Template::new(format!("{prefix}/site/#"));
    let mut backends = draft.subscribers(services, heard, all(sensors));
    "service".clone_into(&mut backends.name);
    backends.publish = Some(Publish {
        first_source: sensors,
        topic: commands,
        ..draft.publish(sensors / services, pace(COMMAND_SHARE), 1)
    });
    Ok(steady(draft, vec![screens, backends, fleet]))
}
