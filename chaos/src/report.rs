//! A phase's figures as a line of a table.

use std::time::Duration;

use crate::history::History;
use crate::measure::{self, Service, Window};

/// How a phase went.
#[derive(Debug, Clone)]
pub struct Row {
    /// The phase's name.
    pub phase: &'static str,
    /// How messages fared.
    pub sends: Service,
    /// How soon others had them.
    pub deliveries: Service,
    /// How changes fared.
    pub changes: Service,
    /// From the end of the fault until all clients agreed and held everything.
    pub settled_in: Duration,
}

impl Row {
    /// The figures of the stretch in which the fault lasted.
    #[must_use]
    pub fn new(
        phase: &'static str,
        history: &History,
        window: Window,
        settled_in: Duration,
    ) -> Self {
        Self {
            phase,
            sends: measure::sends(history, window),
            deliveries: measure::deliveries(history, window),
            changes: measure::changes(history, window),
            settled_in,
        }
    }
}

/// What the columns are, in two lines.
#[must_use]
pub fn head() -> String {
    let service =
        format!("{:>5}  {:>7} {:>7} {:>7} {:>7}", "calls", "served", "p50", "p99", "outage");
    let above =
        format!("{:<13} {:<38} {:<38} {:<15} settled", "", "messages", "group changes", "delivery");
    let below =
        format!("{:<13} {service} {service} {:>7} {:>7} {:>7}", "phase", "p50", "p99", "after");
    format!("{above}\n{below}")
}

/// A row as text.
#[must_use]
pub fn line(row: &Row) -> String {
    let service = |it: &Service| {
        let share = it.availability_permille();
        format!(
            "{:>5}  {:>3}.{} % {} {} {}",
            it.calls,
            share / 10,
            share % 10,
            time(it.p50),
            time(it.p99),
            time(it.outage)
        )
    };
    format!(
        "{:<13} {} {} {} {} {}",
        row.phase,
        service(&row.sends),
        service(&row.changes),
        time(row.deliveries.p50),
        time(row.deliveries.p99),
        time(row.settled_in)
    )
}

/// Up to a second in milliseconds, then in seconds; seven columns.
fn time(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0..1000 => format!("{ms:>4} ms"),
        _ => format!("{:>3}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let check = |ms, expected: &str| assert_eq!(time(Duration::from_millis(ms)), expected);
        check(0, "   0 ms");
        check(999, " 999 ms");
        check(1_000, "  1.0 s");
        check(12_345, " 12.3 s");
    }

    #[test]
    fn head_and_line_have_the_same_width() {
        let window = Window { from: Duration::ZERO, to: Duration::from_secs(1) };
        let row = Row::new("calm", &History::default(), window, Duration::ZERO);
        let width = head().lines().last().map(str::len);
        assert_eq!(Some(line(&row).len()), width, "{}\n{}", head(), line(&row));
    }
}
