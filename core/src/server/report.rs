//! The counters as JSON for programs and as Prometheus text for monitoring.

use serde_json::json;

use crate::http::metrics::Sample;
use crate::http::{self, Response};
use crate::hub::stats::ServerStats;

/// The answer to `GET /stats`. The first four keys are those of conic's hub (`protocols.md` 000.5).
pub(super) fn stats(stats: &ServerStats) -> Response {
    let hub = &stats.hub;
    let answers: serde_json::Map<String, serde_json::Value> =
        stats.answers.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    http::page::json(&json!({
        "connected_clients": hub.names,
        "messages_sent": stats.frames_out,
        "messages_received": stats.frames_in,
        "uptime_seconds": stats.uptime.as_secs(),
        "bytes_sent": stats.bytes_out,
        "bytes_received": stats.bytes_in,
        "connections": {
            "open": stats.connections,
            "accepted": stats.accepted,
            "closed": stats.closed,
            "turned_away": stats.turned_away,
            "slow": stats.slow,
            "dead": stats.dead,
        },
        "sessions": {
            "connected": hub.clients,
            "waiting": hub.waiting,
            "registrations": hub.registrations,
            "resumptions": hub.resumptions,
        },
        "rooms": hub.rooms,
        "commands": hub.messages_in,
        "events": hub.messages_out,
        "refusals": hub.refusals,
        "queues": {
            "bytes": stats.queued_bytes,
            "messages": stats.queued_messages,
            "deepest_bytes": stats.deepest_queue_bytes,
        },
        "http_answers": answers,
    }))
}

/// The answer to `GET /metrics`.
pub(super) fn metrics(stats: &ServerStats) -> Response {
    let hub = &stats.hub;
    let messages = |direction: &str, count| {
        Sample::counter("enishi_messages_total", "WebSocket messages.", count).with("direction", direction)
    };
    let bytes = |direction: &str, count| {
        Sample::counter("enishi_message_bytes_total", "Payload bytes of WebSocket messages.", count)
            .with("direction", direction)
    };
    let mut samples = vec![
        Sample::gauge("enishi_uptime_seconds", "Since the server started.", stats.uptime.as_secs_f64()),
        Sample::gauge("enishi_connections", "Open TCP connections.", stats.connections as f64),
        Sample::counter("enishi_connections_accepted_total", "TCP connections accepted.", stats.accepted),
        Sample::counter("enishi_connections_closed_total", "TCP connections closed.", stats.closed),
        Sample::counter("enishi_connections_turned_away_total", "TCP connections over a bound.", stats.turned_away),
        Sample::counter("enishi_slow_clients_total", "Clients closed because they did not read.", stats.slow),
        Sample::counter("enishi_dead_clients_total", "Clients closed because nothing was heard.", stats.dead),
        Sample::gauge("enishi_clients", "Sessions with a connection.", hub.clients as f64),
        Sample::gauge("enishi_sessions_waiting", "Sessions that wait to be resumed.", hub.waiting as f64),
        Sample::gauge("enishi_names", "Ids in use.", hub.names as f64),
        Sample::gauge("enishi_rooms", "Rooms.", hub.rooms as f64),
        Sample::counter("enishi_registrations_total", "Ids registered.", hub.registrations),
        Sample::counter("enishi_resumptions_total", "Sessions resumed.", hub.resumptions),
        messages("in", stats.frames_in),
        messages("out", stats.frames_out),
        bytes("in", stats.bytes_in),
        bytes("out", stats.bytes_out),
        Sample::gauge("enishi_queued_bytes", "Payload bytes not read by clients yet.", stats.queued_bytes as f64),
        Sample::gauge("enishi_queued_messages", "Messages not read by clients yet.", stats.queued_messages as f64),
        Sample::gauge("enishi_deepest_queue_bytes", "The most for one client.", stats.deepest_queue_bytes as f64),
    ];
    samples.extend(hub.refusals.iter().map(|(code, count)| {
        Sample::counter("enishi_refusals_total", "Requests refused, by reason.", *count).with("reason", *code)
    }));
    samples.extend(stats.answers.iter().map(|(status, count)| {
        Sample::counter("enishi_http_answers_total", "HTTP answers, by status.", *count)
            .with("status", status.to_string())
    }));
    http::metrics::metrics(&samples)
}
