//! Single series: counters that say their whole name, levels, durations; and one handle for each value of a label.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Label;

/// A series' labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A counter. In OpenMetrics the family's name lacks the `_total` of its series; in Prometheus' format, which is what we
/// write, both are the same, so the name is written as it was registered.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Counter);

impl EncodeMetric for Count {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Count {
    const TYPE: MetricType = MetricType::Counter;
}

/// Something that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Level(Gauge);

impl Level {
    /// It is this now.
    pub fn set(&self, value: u64) {
        self.0.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub(super) fn add(&self, more: i64) {
        self.0.inc_by(more);
    }
}

impl EncodeMetric for Level {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Level {
    const TYPE: MetricType = MetricType::Gauge;
}

/// How long something took, as a histogram of seconds.
#[derive(Clone, Debug)]
pub struct Timing(Histogram);

impl Timing {
    /// It took so long.
    pub fn observe(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

impl EncodeMetric for Timing {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Timing {
    const TYPE: MetricType = MetricType::Histogram;
}

/// From what memory takes to where a call is given up.
pub(super) fn timing() -> Timing {
    Timing(Histogram::new([
        0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0,
    ]))
}

/// A counter for each value of a label.
pub struct Counters<L>(Handles<L, Count>);

impl<L: Label> Counters<L> {
    pub(super) fn of(family: &Family<Labels, Count>, labels: &Labels) -> Self {
        Self(Handles::of(family, labels))
    }

    /// One more.
    pub fn count(&self, what: L) {
        if let Some(count) = self.0.of_value(what) {
            count.0.inc();
        }
    }
}

/// A [`Timing`] for each value of a label.
pub struct Durations<L>(Handles<L, Timing>);

impl<L: Label> Durations<L> {
    pub(super) fn of(family: &Family<Labels, Timing, fn() -> Timing>, labels: &Labels) -> Self {
        Self(Handles::of(family, labels))
    }

    /// It took so long.
    pub fn observe(&self, what: L, time: Duration) {
        if let Some(timing) = self.0.of_value(what) {
            timing.observe(time);
        }
    }
}

impl<L> fmt::Debug for Counters<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.handles).finish()
    }
}

impl<L> fmt::Debug for Durations<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.handles).finish()
    }
}

/// One handle for each value of a label, in the order of the values. All are there from the start, so that a rate can be
/// taken of the first event too.
struct Handles<L, M> {
    handles: Box<[M]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, M: Clone> Handles<L, M> {
    fn of<C>(family: &Family<Labels, M, C>, labels: &Labels) -> Self
    where
        C: prometheus_client::metrics::family::MetricConstructor<M>,
    {
        let one = |value: L| {
            let own = value.labels().into_iter();
            let own = own.map(|(name, value)| (name, value.to_owned()));
            let labels = labels.iter().cloned().chain(own).collect();
            family.get_or_create_owned(&labels)
        };
        Self {
            handles: L::all().into_iter().map(one).collect(),
            label: PhantomData,
        }
    }

    fn of_value(&self, value: L) -> Option<&M> {
        self.handles.get(value.index())
    }
}
