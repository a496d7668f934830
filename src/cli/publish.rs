//! `ringway pub`.

use super::client_arguments::{
    ClientArguments, field, qos, refuse_before_v5, seconds, usage, user_property,
};
use super::exit::{DONE, failed};
use crate::client::filter::is_topic_name;
use crate::client::message::MessageProperties;
use crate::client::options::PublishOptions;
use crate::client::payload::PayloadSource;
use crate::client::publish::publish;
use crate::client::stop::StopFlag;
use crate::codec::QosLevel;
use clap::Args;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Publish messages
///
/// Flags are those of mosquitto_pub where both have the thing. Exit status: 0 when everything was
/// sent and, with QoS 1 and 2, acknowledged; 1 when not; 2 for wrong usage.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct PublishArguments {
    /// Topic name
    #[arg(short, long)]
    topic: String,

    #[command(flatten)]
    source: SourceArguments,

    /// 0, 1 or 2
    #[arg(short, long, default_value = "0", value_parser = qos)]
    qos: QosLevel,

    /// Let the broker keep the message for later subscribers
    #[arg(short, long)]
    retain: bool,

    /// Publish each message so often
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,

    /// Seconds between repetitions
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    repeat_delay: Duration,

    /// User property; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = user_property, help_heading = FIVE)]
    user_property: Vec<(String, String)>,

    /// Content type
    #[arg(long, value_name = "TYPE", value_parser = field, help_heading = FIVE)]
    content_type: Option<String>,

    /// Topic for answers
    #[arg(long, value_name = "TOPIC", help_heading = FIVE)]
    response_topic: Option<String>,

    /// What the answer shall carry
    #[arg(long, value_name = "DATA", value_parser = field, help_heading = FIVE)]
    correlation_data: Option<String>,

    /// Seconds after which the message is worth nothing
    #[arg(long, value_name = "SECONDS", help_heading = FIVE)]
    message_expiry: Option<u32>,

    /// Send the topic name once, and this number in place of it afterwards
    #[arg(long, value_name = "ALIAS", value_parser = clap::value_parser!(u16).range(1..),
          help_heading = FIVE)]
    topic_alias: Option<u16>,

    #[command(flatten)]
    client: ClientArguments,
}

const FIVE: &str = "MQTT 5.0";

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SourceArguments {
    /// The payload
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,

    /// Publish a file's content
    #[arg(short, long)]
    file: Option<PathBuf>,

    /// Publish all of standard input as one message
    #[arg(short, long)]
    stdin_file: bool,

    /// Publish each line of standard input
    #[arg(short = 'l', long)]
    stdin_line: bool,

    /// Publish an empty payload
    #[arg(short, long)]
    null_message: bool,
}

pub(super) fn main(arguments: PublishArguments) -> ExitCode {
    let connect = match arguments.client().options() {
        Ok(options) => options,
        Err(what) => return usage(what),
    };
    if let Err(what) = check(&arguments) {
        return usage(what);
    }
    let options = match arguments.options() {
        Ok(options) => options,
        Err(error) => return failed(format_args!("cannot read the payload: {error}")),
    };
    let published = StopFlag::on_signals()
        .map_err(|error| error.to_string())
        .and_then(|stop| publish(&connect, &options, &stop).map_err(|error| error.to_string()));
    match published {
        Ok(()) => DONE,
        Err(why) => failed(why),
    }
}

fn check(arguments: &PublishArguments) -> Result<(), String> {
    let five_only = [
        ("--user-property", !arguments.user_property.is_empty()),
        ("--content-type", arguments.content_type.is_some()),
        ("--response-topic", arguments.response_topic.is_some()),
        ("--correlation-data", arguments.correlation_data.is_some()),
        ("--message-expiry", arguments.message_expiry.is_some()),
        ("--topic-alias", arguments.topic_alias.is_some()),
    ];
    refuse_before_v5(arguments.client.version(), &five_only)?;
    let response_topic = arguments.response_topic.as_deref();
    if !is_topic_name(&arguments.topic) || response_topic.is_some_and(|name| !is_topic_name(name)) {
        return Err("a message is published to a topic name without wildcards".to_owned());
    }
    Ok(())
}

impl PublishArguments {
    pub(super) const fn client(&self) -> &ClientArguments {
        &self.client
    }

    fn options(self) -> io::Result<PublishOptions> {
        Ok(PublishOptions {
            topic_name: self.topic,
            payload: self.source.payload()?,
            qos: self.qos,
            retain: self.retain,
            properties: MessageProperties {
                message_expiry_interval_s: self.message_expiry,
                topic_alias: self.topic_alias,
                content_type: self.content_type,
                response_topic: self.response_topic,
                correlation_data: self.correlation_data.map(String::into_bytes),
                user_properties: self.user_property,
                subscription_identifiers: Vec::new(),
            },
            repeat: self.repeat,
            repeat_delay: self.repeat_delay,
        })
    }
}

impl SourceArguments {
    fn payload(self) -> io::Result<PayloadSource> {
        if let Some(message) = self.message {
            return Ok(PayloadSource::One(message.into_bytes()));
        }
        if let Some(path) = self.file {
            return PayloadSource::whole(File::open(path)?);
        }
        if self.stdin_file {
            return PayloadSource::whole(io::stdin().lock());
        }
        if self.stdin_line {
            return Ok(PayloadSource::lines(BufReader::new(io::stdin())));
        }
        Ok(PayloadSource::One(Vec::new()))
    }
}
