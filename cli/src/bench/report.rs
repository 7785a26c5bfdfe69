//! What a run found out: rows for a person, an object for a program.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};

use super::process::Usage;

/// Others that use more than this of a core have changed what was measured.
const NOISE_PERCENT: f64 = 20.0;

/// The figures of one run, in the order in which they are shown.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    /// What makes the figures worthless.
    failures: Vec<String>,
    /// What has to be known beside the figures.
    remarks: Vec<String>,
}

#[derive(Debug)]
struct Row {
    key: &'static str,
    label: &'static str,
    value: Value,
    unit: &'static str,
}

impl Report {
    /// Adds a figure, unless it is not known. The key names its unit.
    pub fn put(&mut self, key: &'static str, label: &'static str, value: Option<impl Into<Value>>, unit: &'static str) {
        if let Some(value) = value {
            self.rows.push(Row { key, label, value: value.into(), unit });
        }
    }

    /// The run counts as failed.
    pub fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    pub fn remark(&mut self, what: String) {
        self.remarks.push(what);
    }

    /// Adds what another one found.
    pub fn extend(&mut self, other: Report) {
        self.rows.extend(other.rows);
        self.failures.extend(other.failures);
        self.remarks.extend(other.remarks);
    }

    /// Adds only what went wrong in another one.
    pub fn take_failures(&mut self, other: Report) {
        self.failures.extend(other.failures);
    }

    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// CPU times of a window in which `count` things happened.
    pub fn usage(&mut self, usage: &Usage, window: Duration, count: u64, key: &'static str, label: &'static str) {
        let share = |time: Option<Duration>| time.map(|time| round(100.0 * time.as_secs_f64() / window.as_secs_f64()));
        let each = usage.server.filter(|_| count > 0).map(|time| time.as_secs_f64() * 1e6 / count as f64);
        self.put(key, label, each.map(round), "µs");
        self.put("server_cpu_percent", "server's CPU", share(usage.server), "% of a core");
        let kernel = usage.halves.map(|(own, kernel)| kernel.as_secs_f64() / (own + kernel).as_secs_f64());
        let kernel = kernel.filter(|share| share.is_finite()).map(|share| round(100.0 * share));
        self.put("server_kernel_percent", "of which in the kernel", kernel, "%");
        self.put("load_cpu_percent", "load's CPU", share(usage.load), "% of a core");
        self.put("foreign_cpu_percent", "others' CPU", share(usage.foreign), "% of a core");
        self.put("stolen_cpu_percent", "stolen CPU", share(usage.stolen), "% of a core");
        if let Some(foreign) = share(usage.foreign).filter(|foreign| *foreign > NOISE_PERCENT) {
            self.remark(format!("others used {foreign:.0} % of a core meanwhile: measure again when it is quiet"));
        }
    }

    /// Percentiles of times.
    pub fn times(&mut self, keys: [&'static str; 5], labels: [&'static str; 5], samples: &mut [Duration]) {
        if samples.is_empty() {
            return;
        }
        samples.sort_unstable();
        for ((key, label), share) in keys.into_iter().zip(labels).zip([0.5, 0.9, 0.99, 0.999, 1.0]) {
            let at = ((samples.len() as f64 * share).ceil() as usize).clamp(1, samples.len()) - 1;
            self.put(key, label, Some(round(samples[at].as_secs_f64() * 1e6)), "µs");
        }
    }

    /// For a program: one line.
    pub fn json(&self) -> String {
        let mut object: Map<String, Value> =
            self.rows.iter().map(|row| (row.key.to_owned(), row.value.clone())).collect();
        let list = |texts: &[String]| Value::from(texts.to_vec());
        object.insert("failures".into(), list(&self.failures));
        object.insert("remarks".into(), list(&self.remarks));
        format!("{}\n", Value::Object(object))
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Row { label, value, unit, .. } in &self.rows {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "{}", format!("{label:26} {shown} {unit}").trim_end());
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "note: {remark}");
        }
        for failure in &self.failures {
            let _ = writeln!(text, "FAILED: {failure}");
        }
        text
    }
}

/// Three digits after the point are more than any of this can be repeated to.
pub fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
