//! Tells whoever waits for it that every core is serving.

use super::log::LogLines;
use std::fmt::Write;

/// The line that scripts wait for, and `READY=1` to systemd when it asked for it.
pub(super) fn announce(log: &mut LogLines, urls: &[String], core_count: usize) {
    log.say(line(urls, core_count, std::process::id()));
    // Without NOTIFY_SOCKET this does nothing. A service manager that cannot be reached finds out
    // by its own timeout; the broker serves all the same.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager that we are ready");
    }
}

fn line(urls: &[String], core_count: usize, pid: u32) -> String {
    let mut line = String::from("ready");
    for url in urls {
        line.push(' ');
        line.push_str(url);
    }
    // Writing to a String cannot fail.
    let _ = write!(line, " cores={core_count} pid={pid}");
    line
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn line_names_all_listeners() {
        let urls = ["tcp://127.0.0.1:1883", "tcp://[::1]:1883"].map(str::to_owned);
        let expected = "ready tcp://127.0.0.1:1883 tcp://[::1]:1883 cores=2 pid=123";
        assert_eq!(line(&urls, 2, 123), expected);
    }
}
