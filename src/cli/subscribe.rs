//! `ringway sub`.

use super::client_arguments::{
    ClientArguments, qos, refuse_before_v5, seconds, usage, user_property,
};
use super::exit::{DONE, failed, say};
use crate::client::error::ClientError;
use crate::client::filter::is_topic_filter;
use crate::client::format::Format;
use crate::client::options::SubscribeOptions;
use crate::client::stop::StopFlag;
use crate::client::subscribe::subscribe;
use crate::codec::{QosLevel, RetainHandling};
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;

/// Subscribe and print what arrives
///
/// Flags are those of mosquitto_sub where both have the thing. Ends by --count, --timeout,
/// SIGINT or SIGTERM. Exit status: 0 after the count or a signal, 27 after the timeout, 1 when the
/// connection fails or every subscription is refused, 2 for wrong usage.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct SubscribeArguments {
    /// Topic filter; may be repeated
    #[arg(
        short,
        long,
        value_name = "FILTER",
        required_unless_present = "unsubscribe"
    )]
    topic: Vec<String>,

    /// Highest QoS to receive: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_parser = qos)]
    qos: QosLevel,

    /// End after so many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time, with exit status 27
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,

    /// End when the broker has answered the subscriptions
    #[arg(short = 'E', long)]
    exit_after_subscribed: bool,

    /// Subscription of an earlier connection to end; may be repeated
    #[arg(short = 'U', long, value_name = "FILTER")]
    unsubscribe: Vec<String>,

    /// Do not print messages that this filter matches; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER")]
    filter_out: Vec<String>,

    /// Do not print messages that were retained before
    #[arg(short = 'R', long)]
    skip_stale: bool,

    /// Print the topic name before the payload
    #[arg(short, long, help_heading = OUTPUT)]
    verbose: bool,

    /// Print no newline after a message
    #[arg(short = 'N', long, help_heading = OUTPUT)]
    no_newline: bool,

    /// How to print a message, for example "%t %p"
    ///
    /// %t topic name, %p payload, %x %X payload in hexadecimal, %l its bytes, %q QoS, %r retain
    /// (0 or 1), %m packet identifier, %U unix time of arrival, %P user properties, %C content
    /// type, %R response topic, %D correlation data, %E message expiry, %S subscription
    /// identifiers, %A topic alias, %% a percent sign; \n \t \r \0 \a \e \v \\
    #[arg(short = 'F', long, value_name = "TEMPLATE", conflicts_with = "verbose",
          help_heading = OUTPUT)]
    format: Option<String>,

    /// Not what this connection publishes itself
    #[arg(long, help_heading = FIVE)]
    no_local: bool,

    /// Leave the retain flag as the publisher set it
    #[arg(long, help_heading = FIVE)]
    retain_as_published: bool,

    /// Retained messages: 0 with each subscription, 1 with new ones only, 2 never
    #[arg(long, value_name = "0|1|2", default_value = "0", value_parser = retain_handling,
          help_heading = FIVE)]
    retain_handling: RetainHandling,

    /// User property of the subscription; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = user_property, help_heading = FIVE)]
    user_property: Vec<(String, String)>,

    #[command(flatten)]
    client: ClientArguments,
}

const FIVE: &str = "MQTT 5.0";
const OUTPUT: &str = "Output";
/// What mosquitto_sub ends with.
const STATUS_TIMED_OUT: u8 = 27;

pub(super) fn main(arguments: SubscribeArguments) -> ExitCode {
    let checked = check(&arguments).and_then(|()| {
        let connect = arguments.client.options()?;
        Ok((connect, arguments.options()?))
    });
    let (connect, options) = match checked {
        Ok(checked) => checked,
        Err(what) => return usage(what),
    };
    let stop = match StopFlag::on_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(error),
    };
    match subscribe(&connect, &options, &stop, &mut std::io::stdout().lock()) {
        Ok(()) => DONE,
        Err(ClientError::TimedOut) => {
            say("ringway: timed out");
            ExitCode::from(STATUS_TIMED_OUT)
        }
        Err(why) => failed(why),
    }
}

fn check(arguments: &SubscribeArguments) -> Result<(), String> {
    let five_only = [
        ("--no-local", arguments.no_local),
        ("--retain-as-published", arguments.retain_as_published),
        (
            "--retain-handling",
            arguments.retain_handling != RetainHandling::Send,
        ),
        ("--user-property", !arguments.user_property.is_empty()),
    ];
    refuse_before_v5(arguments.client.version(), &five_only)?;
    let lists = [
        &arguments.topic,
        &arguments.unsubscribe,
        &arguments.filter_out,
    ];
    match lists
        .into_iter()
        .flatten()
        .find(|filter| !is_topic_filter(filter))
    {
        Some(filter) => Err(format!(
            "{filter:?} is no topic filter: + stands for one level, # at the end for the rest"
        )),
        None => Ok(()),
    }
}

fn retain_handling(text: &str) -> Result<RetainHandling, &'static str> {
    match text {
        "0" => Ok(RetainHandling::Send),
        "1" => Ok(RetainHandling::SendIfNew),
        "2" => Ok(RetainHandling::DoNotSend),
        _ => Err("must be 0, 1 or 2"),
    }
}

impl SubscribeArguments {
    fn options(self) -> Result<SubscribeOptions, String> {
        let newline = !self.no_newline;
        let format = match &self.format {
            Some(template) => {
                Format::parse(template, newline).map_err(|what| format!("--format: {what}"))?
            }
            None => Format::plain(self.verbose, newline),
        };
        Ok(SubscribeOptions {
            topic_filters: self.topic,
            unsubscribe: self.unsubscribe,
            filter_out: self.filter_out,
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling,
            user_properties: self.user_property,
            skip_stale: self.skip_stale,
            count: self.count,
            timeout: self.timeout,
            exit_after_subscribed: self.exit_after_subscribed,
            format,
        })
    }
}
