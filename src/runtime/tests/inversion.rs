//! The executor below the core's ring: files, timers, wakes from other threads and sockets all
//! make progress together, and the core is quiet again when the tasks are over.

use super::PATIENCE;
use super::client::{Client, connect};
use crate::base::hash::HomeKey;
use crate::base::ids::ShardId;
use crate::config::address::{ListenAddress, Scheme};
use crate::config::limits::Limits;
use crate::metrics::Counters;
use crate::runtime::NetCounters;
use crate::runtime::bell::Bell;
use crate::runtime::clock::Clock;
use crate::runtime::core::{Control, Core, Stop};
use crate::runtime::executor::{self, Tasks};
use crate::runtime::link;
use crate::runtime::listen;
use crate::runtime::net::{ListenSocket, ListenerLoad, Net, NetSettings};
use crate::shard::Shard;
use crate::shard::interface::ShardSettings;
use glommio::channels::shared_channel;
use glommio::io::BufferedFile;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct OneCore {
    address: SocketAddr,
    control: Arc<Control>,
    thread: JoinHandle<(NetCounters, Counters)>,
}

/// One core on a thread of its own; `spawn` puts tasks beside it.
fn start(spin_time: Duration, spawn: impl FnOnce(&Tasks) + Send + 'static) -> OneCore {
    let address = ListenAddress {
        scheme: Scheme::Tcp,
        host: "127.0.0.1".to_owned(),
        port: 0,
    };
    let open = listen::open(&address, 16, 1).unwrap();
    let sockets = open.sockets.into_iter().flatten();
    let sockets = sockets
        .map(|socket| ListenSocket {
            socket,
            listener: 0,
        })
        .collect();
    let bells = vec![Arc::new(Bell::new().unwrap())];
    let control = Arc::new(Control::new(bells.clone(), Duration::from_secs(5)));
    let control_of_core = Arc::clone(&control);
    let thread = std::thread::spawn(move || {
        let settings = NetSettings {
            sockets,
            loads: vec![Arc::new(ListenerLoad::new(100))],
            gates: vec![None],
            slots: 256,
            rings_max: 1,
            send_queue_bytes_max: 1 << 20,
            spins: !spin_time.is_zero(),
        };
        let net = executor::while_none_is_made(|| Net::new(settings)).unwrap();
        let made = executor::make(0).unwrap();
        let links = link::mesh(&bells).pop().unwrap();
        made.executor.run(async move {
            let shard = Shard::new(ShardSettings {
                id: ShardId(0),
                shard_count: 1,
                limits: Limits::default(),
                home_key: HomeKey::new([1; 16]),
                seed: 1,
            });
            let clock = Clock::start();
            let core = Core::new(
                0,
                shard,
                net,
                links,
                None,
                made.rings,
                clock,
                control_of_core,
            );
            spawn(&core.tasks());
            core.spinning(spin_time).run().await.unwrap()
        })
    });
    OneCore {
        address: open.addresses[0],
        control,
        thread,
    }
}

impl OneCore {
    fn stop(self) -> (NetCounters, Counters) {
        self.control.request(Stop::Graceful);
        self.thread.join().unwrap()
    }
}

fn wait_for(count: &AtomicU32, wanted: u32, what: &str) {
    let start = Instant::now();
    while count.load(Ordering::Acquire) < wanted {
        assert!(start.elapsed() < PATIENCE, "no progress: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Clone, Default)]
struct Progress {
    files: Arc<AtomicU32>,
    timers: Arc<AtomicU32>,
    channel: Arc<AtomicU32>,
    busy: Arc<AtomicU32>,
}

const FILE_WRITES: u32 = 200;
const TIMERS: u32 = 30;
const MESSAGES: u32 = 300;

fn add(count: &AtomicU32) {
    count.fetch_add(1, Ordering::Release);
}

async fn write_file(path: std::path::PathBuf, done: Arc<AtomicU32>) {
    let file = BufferedFile::create(&path).await.unwrap();
    for number in 0..FILE_WRITES {
        let block = vec![u8::try_from(number % 256).unwrap(); 512];
        file.write_at(block, u64::from(number) * 512).await.unwrap();
        add(&done);
    }
    file.fdatasync().await.unwrap();
    file.close().await.unwrap();
}

async fn sleep_often(done: Arc<AtomicU32>) {
    for _ in 0..TIMERS {
        glommio::timer::sleep(Duration::from_millis(3)).await;
        add(&done);
    }
}

/// Never waits: must not keep the others from their progress.
async fn stay_busy(done: Arc<AtomicU32>) {
    for _ in 0..30_000 {
        add(&done);
        futures_yield().await;
    }
}

async fn futures_yield() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Another executor that sends over glommio's own channel.
fn sending_thread(sender: shared_channel::SharedSender<u32>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        glommio::LocalExecutorBuilder::default()
            .make()
            .unwrap()
            .run(async move {
                let sender = sender.connect().await;
                for number in 0..MESSAGES {
                    sender.send(number).await.unwrap();
                    if number % 10 == 0 {
                        glommio::timer::sleep(Duration::from_micros(700)).await;
                    }
                }
            });
    })
}

#[test]
fn files_timers_channels_and_sockets_make_progress_together() {
    make_progress_together(Duration::ZERO);
}

#[test]
fn all_make_progress_beside_a_core_that_spins() {
    make_progress_together(Duration::from_secs(1));
}

fn make_progress_together(spin_time: Duration) {
    let progress = Progress::default();
    let seen = progress.clone();
    let name = format!("ringway-inversion-{}-{spin_time:?}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let file_path = path.clone();
    let (sender, receiver) = shared_channel::new_bounded::<u32>(64);
    let core = start(spin_time, move |tasks| {
        tasks.spawn(write_file(file_path, seen.files)).detach();
        tasks.spawn(sleep_often(seen.timers)).detach();
        tasks.spawn(stay_busy(seen.busy)).detach();
        tasks
            .spawn(async move {
                let receiver = receiver.connect().await;
                let mut next = 0;
                while let Some(number) = receiver.recv().await {
                    assert_eq!(number, next);
                    next += 1;
                    add(&seen.channel);
                }
            })
            .detach();
    });
    let thread = sending_thread(sender);
    let mut client = Client::open(core.address).connected("beside");
    for _ in 0..500 {
        client.ping();
    }
    wait_for(&progress.files, FILE_WRITES, "files");
    wait_for(&progress.timers, TIMERS, "timers");
    wait_for(&progress.channel, MESSAGES, "channel");
    wait_for(&progress.busy, 30_000, "busy task");
    client.ping();
    thread.join().unwrap();
    let (net, _) = core.stop();
    assert!(net.reactor_turns > 0);
    let written = std::fs::read(&path).unwrap();
    assert_eq!(written.len(), FILE_WRITES as usize * 512);
    assert!(written[512 * 7..][..512].iter().all(|byte| *byte == 7));
    std::fs::remove_file(path).unwrap();
}

/// With a task that waits for ever the core ticks slowly; without tasks not at all.
#[test]
fn waiting_task_costs_little_and_finished_tasks_nothing() {
    let core = start(Duration::ZERO, |tasks| {
        tasks.spawn(std::future::pending::<()>()).detach();
    });
    std::thread::sleep(Duration::from_millis(600));
    let (waiting, _) = core.stop();
    assert!(waiting.turns < 40, "{waiting:?}");

    let done = Arc::new(AtomicU32::new(0));
    let at_end = Arc::clone(&done);
    let core = start(Duration::ZERO, move |tasks| {
        tasks.spawn(sleep_often(at_end)).detach();
    });
    wait_for(&done, TIMERS, "timers");
    std::thread::sleep(Duration::from_millis(20));
    let mut client = Client::open(core.address);
    client.send(&connect("count"));
    assert_eq!(client.packet()[0], 0x20);
    drop(client);
    std::thread::sleep(Duration::from_millis(400));
    let (finished, _) = core.stop();
    // At most one turn per tick while the timers ran, and some for the connection.
    assert!(finished.turns < 120, "{finished:?}");
}
