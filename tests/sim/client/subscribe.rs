//! SUBSCRIBE, UNSUBSCRIBE and their answers.

use super::{Client, Context};
use crate::wire::{Filter, encode};

/// A SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
#[derive(Debug)]
pub(super) struct Request {
    filters: Vec<Filter>,
    unsubscribe: bool,
    order: u64,
}

impl Client {
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context<'_>,
        filters: Vec<Filter>,
        identifier: Option<u32>,
    ) {
        let packet_id = self.next_packet_id();
        let identifier = identifier.filter(|_| self.v5());
        let v5 = self.v5();
        let Some(live) = &mut self.live else { return };
        encode::subscribe(
            packet_id,
            identifier,
            &filters,
            self.profile.version,
            &mut live.output,
        );
        live.last_sent = context.now;
        let index = self.index;
        context.note(format_args!(
            "    client {index} > SUBSCRIBE {packet_id} {identifier:?} {filters:?}"
        ));
        let order = live.next_order();
        for filter in &filters {
            let mut filter = filter.clone();
            if !v5 {
                filter.no_local = false;
                filter.retain_as_published = false;
                filter.retain_handling = 0;
            }
            context
                .auditor
                .on_subscribe_sent(self.index, context.now, &filter, identifier);
            if !self.subscribed.contains(&filter.filter) {
                self.subscribed.push(filter.filter);
            }
        }
        live.requests.insert(
            packet_id,
            Request {
                filters,
                unsubscribe: false,
                order,
            },
        );
    }

    pub(crate) fn unsubscribe(&mut self, context: &mut Context<'_>, filter: Filter) {
        let packet_id = self.next_packet_id();
        let Some(live) = &mut self.live else { return };
        let names = [filter.filter.clone()];
        encode::unsubscribe(packet_id, &names, self.profile.version, &mut live.output);
        live.last_sent = context.now;
        let index = self.index;
        context.note(format_args!(
            "    client {index} > UNSUBSCRIBE {packet_id} {names:?}"
        ));
        let order = live.next_order();
        context
            .auditor
            .on_unsubscribe_sent(self.index, context.now, &filter.filter);
        self.subscribed.retain(|other| *other != filter.filter);
        live.requests.insert(
            packet_id,
            Request {
                filters: vec![filter],
                unsubscribe: true,
                order,
            },
        );
    }

    /// Is an answer about this filter under way?
    pub(super) fn is_requested(&self, filter: &str) -> bool {
        self.live.as_ref().is_some_and(|live| {
            let mut pending = live.requests.values().flat_map(|request| &request.filters);
            pending.any(|it| it.filter == filter)
        })
    }

    fn take_request(&mut self, packet_id: u16, unsubscribe: bool) -> Result<Request, String> {
        let live = self.live.as_mut();
        let request = live.and_then(|live| live.requests.remove(&packet_id));
        request
            .filter(|request| request.unsubscribe == unsubscribe)
            .ok_or_else(|| format!("SUBACK or UNSUBACK {packet_id} that nobody waits for"))
    }

    /// [MQTT-3.8.4-2], [MQTT-3.8.4-6].
    pub(super) fn on_sub_ack(
        &mut self,
        context: &mut Context<'_>,
        packet_id: u16,
        codes: &[u8],
    ) -> Result<(), String> {
        let request = self.take_request(packet_id, false)?;
        let wanted: Vec<u8> = request.filters.iter().map(|filter| filter.qos).collect();
        if wanted != codes {
            return Err(format!("SUBACK {codes:?} for {:?}", request.filters));
        }
        for filter in &request.filters {
            context
                .auditor
                .on_suback(self.index, context.now, &filter.filter);
        }
        if let Some(live) = &mut self.live {
            live.confirm(request.order, context.auditor);
        }
        Ok(())
    }

    /// [MQTT-3.10.4-4], [MQTT-3.11.3-1].
    pub(super) fn on_unsub_ack(
        &mut self,
        context: &mut Context<'_>,
        packet_id: u16,
        codes: &[u8],
    ) -> Result<(), String> {
        let request = self.take_request(packet_id, true)?;
        let expected = if self.v5() { request.filters.len() } else { 0 };
        if codes.len() != expected || codes.iter().any(|code| !matches!(code, 0 | 0x11)) {
            return Err(format!("UNSUBACK {codes:?} for {:?}", request.filters));
        }
        for filter in &request.filters {
            context
                .auditor
                .on_unsuback(self.index, context.now, &filter.filter);
        }
        if let Some(live) = &mut self.live {
            live.confirm(request.order, context.auditor);
        }
        Ok(())
    }
}
