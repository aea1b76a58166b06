//! What `EXPLAIN ANALYZE` shows of an operator.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, RatioMetrics, Time};
use sensorium_inference::Stats;

/// The figures of one partition.
#[derive(Debug)]
pub(super) struct Figures {
    counts: Vec<(&'static str, Count)>,
    times: Vec<(&'static str, Time)>,
    /// Tokens of padding among all that models saw.
    padding: RatioMetrics,
}

/// A figure that is a time, by its name.
fn is_time(name: &str) -> bool {
    name.ends_with("_time")
}

impl Figures {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let names: Vec<&'static str> = Stats::default().figures().into_iter().map(|(name, _)| name).collect();
        let counter = |name: &&'static str| (*name, MetricBuilder::new(metrics).counter(*name, partition));
        let timer = |name: &&'static str| (*name, MetricBuilder::new(metrics).subset_time(*name, partition));
        Self {
            counts: names.iter().filter(|name| !is_time(name)).map(counter).collect(),
            times: names.iter().filter(|name| is_time(name)).map(timer).collect(),
            padding: MetricBuilder::new(metrics).ratio_metrics("padding_ratio", partition),
        }
    }

    /// Adds what one window took.
    pub(super) fn add(&self, stats: &Stats) {
        for (name, figure) in stats.figures() {
            if let Some((_, count)) = self.counts.iter().find(|(own, _)| *own == name) {
                count.add(usize::try_from(figure).unwrap_or(usize::MAX));
            }
            if let Some((_, time)) = self.times.iter().find(|(own, _)| *own == name) {
                time.add_duration(std::time::Duration::from_nanos(figure));
            }
        }
        let total = |wanted: &str| self.counts.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, count)| count.value());
        let (tokens, padded) = (total("tokens"), total("padded_tokens"));
        self.padding.set_part(padded.saturating_sub(tokens));
        self.padding.set_total(padded);
    }
}
