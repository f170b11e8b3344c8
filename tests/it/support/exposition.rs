//! Prometheus' text format, read strictly: what a scraper would silently put up with is an error here.

use std::collections::{BTreeMap, HashSet};

/// One scrape.
#[derive(Debug, Default)]
pub struct Scrape {
    families: BTreeMap<String, Family>,
}

/// One metric's series.
#[derive(Debug)]
pub struct Family {
    pub kind: String,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Scrape {
    /// Reads a whole text; panics with what is wrong with it.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line does not end");
        let (mut scrape, mut seen) = (Self::default(), HashSet::new());
        let mut helped: Option<String> = None;
        let mut now: Option<(String, Family)> = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                scrape.close(now.take());
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(!help.trim().is_empty(), "no help: {line}");
                assert!(is_name(name), "{line}");
                assert_eq!(helped, None, "HELP without TYPE");
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert_eq!(helped.take().as_deref(), Some(name), "TYPE without HELP");
                assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let samples = Vec::new();
                let kind = kind.to_owned();
                now = Some((name.to_owned(), Family { kind, samples }));
            } else {
                let sample = Sample::read(line);
                let (name, family) = now.as_mut().unwrap_or_else(|| panic!("no TYPE: {line}"));
                assert!(sample.belongs_to(name, &family.kind), "{line} in {name}");
                let series = format!("{}{:?}", sample.name, sample.labels);
                assert!(seen.insert(series), "twice: {line}");
                family.samples.push(sample);
            }
        }
        assert_eq!(helped, None, "HELP without TYPE");
        scrape.close(now);
        scrape
    }

    fn close(&mut self, family: Option<(String, Family)>) {
        let Some((name, family)) = family else { return };
        assert!(!family.samples.is_empty(), "{name} has no series");
        if family.kind == "histogram" {
            family.check_histogram(&name);
        }
        let before = self.families.insert(name.clone(), family);
        assert!(before.is_none(), "{name} comes twice");
    }

    /// The names of all metrics.
    pub fn names(&self) -> Vec<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    /// All lines.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }

    /// The same, where it is a whole number.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        whole(self.value(name, labels))
    }

    /// The value of the one series with this name and at least these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        let found: Vec<_> = self.samples().filter(has).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value
    }

    /// The sum of all series of this name.
    pub fn sum(&self, name: &str) -> u64 {
        let found = self.samples().filter(|sample| sample.name == name);
        found.map(|sample| whole(sample.value)).sum()
    }
}

impl Family {
    /// Buckets grow, and the last one holds everything.
    fn check_histogram(&self, name: &str) {
        let mut by_labels: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            labels.remove("le");
            let key = format!("{labels:?}");
            by_labels.entry(key).or_default().push(sample);
        }
        for (labels, samples) in by_labels {
            let of = |suffix: &str| {
                let full = format!("{name}{suffix}");
                let found: Vec<_> = samples.iter().filter(|s| s.name == full).collect();
                found.into_iter().copied().cloned().collect::<Vec<_>>()
            };
            let (buckets, counts) = (of("_bucket"), of("_count"));
            assert_eq!((of("_sum").len(), counts.len()), (1, 1), "{name}{labels}");
            assert!(buckets.is_sorted_by(|a, b| a.value <= b.value), "{name}");
            let last = buckets.last().expect(name);
            assert_eq!(last.labels["le"], "+Inf", "{name}");
            assert_eq!(whole(last.value), whole(counts[0].value), "{name}{labels}");
        }
    }
}

impl Sample {
    fn read(line: &str) -> Self {
        let end = line.find(['{', ' ']).expect(line);
        let (name, rest) = line.split_at(end);
        assert!(is_name(name), "{line}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), rest),
        };
        let value = value.strip_prefix(' ').expect(line);
        let value = match value {
            "+Inf" => f64::INFINITY,
            value => value.parse().expect(line),
        };
        let name = name.to_owned();
        Self {
            name,
            labels,
            value,
        }
    }

    fn belongs_to(&self, family: &str, kind: &str) -> bool {
        if kind != "histogram" {
            return self.name == family;
        }
        let suffix = self.name.strip_prefix(family);
        let bucket = self.labels.contains_key("le");
        matches!(
            (suffix, bucket),
            (Some("_bucket"), true) | (Some("_sum" | "_count"), false)
        )
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the text is asked whether it was one"
)]
fn whole(value: f64) -> u64 {
    assert_eq!((value as u64).to_string(), value.to_string(), "not a count");
    value as u64
}

/// What follows `{`: the labels, and what follows `}`.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    loop {
        let (name, after) = rest.split_once("=\"").expect(text);
        assert!(is_name(name), "{text}");
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next().expect(text) {
                (at, '"') => break at,
                (_, '\\') => match letters.next().expect(text).1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("\\{c} in {text}"),
                },
                (_, c) => value.push(c),
            }
        };
        let before = labels.insert(name.to_owned(), value);
        assert!(before.is_none(), "a label twice: {text}");
        rest = &after[end + 1..];
        if let Some(done) = rest.strip_prefix('}') {
            return (labels, done);
        }
        rest = rest.strip_prefix(',').expect(text);
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
