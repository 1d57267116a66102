//! Prometheus's text format, for what is sampled when somebody asks.
//!
//! The recorder keeps what is counted while the process runs. It is no place for samples: it keeps
//! each label for ever, and its counters are whole numbers, while seconds are not.

use std::fmt::Write as _;

/// A text under construction.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// The samples of one metric.
pub(super) struct Family<'a> {
    name: &'a str,
    text: &'a mut String,
}

impl Exposition {
    /// Continues a text that ends with a line break or is empty.
    pub(super) fn after(text: String) -> Exposition {
        Exposition { text }
    }

    /// A number that goes up and down.
    pub(super) fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "gauge", help)
    }

    /// A number that only grows.
    pub(super) fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "counter", help)
    }

    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        let text = &mut self.text;
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes all");
        Family { name, text }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// The one value of a metric without labels.
    pub(super) fn value(&mut self, value: f64) {
        writeln!(self.text, "{} {value}", self.name).expect("a string takes all");
    }

    /// The value of one set of labels.
    pub(super) fn of(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = labels.join(",");
        writeln!(self.text, "{}{{{labels}}} {value}", self.name).expect("a string takes all");
        self
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_its_help_its_type_and_its_samples() {
        let mut text = Exposition::after("# before\n".to_owned());
        text.gauge("keys", "Keys.").value(3.0);
        let mut family = text.counter("calls_total", "Calls.");
        family
            .of(&[("cmd", "get")], 0.5)
            .of(&[("cmd", "a\"b\\c\nd"), ("by", "x")], 2.0);
        let expected = "# before\n# HELP keys Keys.\n# TYPE keys gauge\nkeys 3\n\
                        # HELP calls_total Calls.\n# TYPE calls_total counter\n\
                        calls_total{cmd=\"get\"} 0.5\n\
                        calls_total{cmd=\"a\\\"b\\\\c\\nd\",by=\"x\"} 2\n";
        assert_eq!(text.into_text(), expected);
    }
}
