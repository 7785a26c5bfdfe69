//! Numbers for monitoring, in Prometheus' text format 0.0.4.
//!
//! Written by hand: the format is two comment lines and a name with a value, and a library would bring its own
//! registry of shared atomics where the hub already has the numbers as plain data.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Response;

/// How a value moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from zero when the server starts. By custom the name ends in `_total`.
    Counter,
    /// Up and down.
    Gauge,
}

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What is measured, with its unit, such as `enishi_messages_total`: letters, digits and `_`.
    pub name: &'static str,
    /// A sentence for people. The first one given for a name counts.
    pub help: &'static str,
    /// How it moves; equal for all samples of a name.
    pub kind: Kind,
    /// What tells it from other samples of the name. A label's values should be few.
    pub labels: Vec<(&'static str, String)>,
    /// The value. Integers are exact up to 2^53.
    pub value: f64,
}

impl Sample {
    /// A counter without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Sample { name, help, kind: Kind::Counter, labels: Vec::new(), value: value as f64 }
    }

    /// A gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Sample { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
    }

    /// The same with one more label.
    #[must_use]
    pub fn with(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((label, value.into()));
        self
    }
}

/// The answer to `GET /metrics`.
pub fn metrics(samples: &[Sample]) -> Response {
    Response::new(200, "text/plain; version=0.0.4; charset=utf-8", prometheus(samples))
}

/// The samples as text. All of one name stand together, as the format demands; names are in order.
pub fn prometheus(samples: &[Sample]) -> String {
    let mut by_name: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_name.entry(sample.name).or_default().push(sample);
    }
    let mut text = String::new();
    for (name, samples) in by_name {
        if let Some(first) = samples.first() {
            let kind = match first.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let help = first.help.replace('\\', r"\\").replace('\n', r"\n");
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        for sample in samples {
            text.push_str(name);
            push_labels(&mut text, &sample.labels);
            text.push(' ');
            push_value(&mut text, sample.value);
            text.push('\n');
        }
    }
    text
}

fn push_labels(text: &mut String, labels: &[(&'static str, String)]) {
    let mut before = '{';
    for (name, value) in labels {
        let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        let _ = write!(text, "{before}{name}=\"{value}\"");
        before = ',';
    }
    if !labels.is_empty() {
        text.push('}');
    }
}

fn push_value(text: &mut String, value: f64) {
    let _ = if value.is_infinite() {
        text.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(text, "{value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together_under_one_heading() {
        let samples = [
            Sample::counter("b_total", "Of b.", 3).with("why", "x"),
            Sample::gauge("a", "Of a.", 1.5),
            Sample::counter("b_total", "Of b.", 9_007_199_254_740_992).with("why", "y").with("who", "z"),
        ];
        assert_eq!(
            prometheus(&samples),
            "# HELP a Of a.\n# TYPE a gauge\na 1.5\n\
             # HELP b_total Of b.\n# TYPE b_total counter\nb_total{why=\"x\"} 3\n\
             b_total{why=\"y\",who=\"z\"} 9007199254740992\n"
        );
    }

    #[test]
    fn what_would_break_a_line_is_escaped() {
        let samples = [Sample::gauge("a", "one\ntwo \\", f64::INFINITY).with("l", "a\"b\\c\nd")];
        assert_eq!(prometheus(&samples), "# HELP a one\\ntwo \\\\\n# TYPE a gauge\na{l=\"a\\\"b\\\\c\\nd\"} +Inf\n");
        assert!(prometheus(&[Sample::gauge("a", "", f64::NAN)]).ends_with("\na NaN\n"));
        assert_eq!(prometheus(&[]), "");
    }
}
