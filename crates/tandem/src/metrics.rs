//! Counters and gauges, served as OpenMetrics.
