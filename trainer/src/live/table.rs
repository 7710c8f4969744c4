//! The metrics of a whole training in bounded memory.

use crate::metrics::Metrics;
use crate::report::Curve;

/// The largest number of rows. When there would be more, each pair of rows is merged into one.
const ROWS: usize = 1000;

/// A growing table. A row is the mean over an interval of steps. All intervals except the last have the same length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    names: Vec<String>,
    rows: Vec<Row>,
    stretch: usize,
}

/// The sums of the columns, the step first, over some steps.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    steps: usize,
    sums: Vec<f64>,
}

impl Default for Table {
    fn default() -> Self {
        Self { names: Vec::new(), rows: Vec::new(), stretch: 1 }
    }
}

impl Table {
    /// Reads a table of metrics; an incomplete row is skipped.
    pub(super) fn parse(text: &str) -> Self {
        let mut table = Self::default();
        let mut lines = text.lines();
        table.names = lines.next().into_iter().flat_map(|header| header.split(',').skip(1)).map(Into::into).collect();
        for line in lines {
            if let Ok(row) = line.split(',').map(str::parse).collect() {
                table.add(row);
            }
        }
        table
    }

    /// Appends a step.
    pub(super) fn push(&mut self, metrics: &Metrics) {
        if self.rows.is_empty() {
            self.names = ["learning_rate"].into_iter().chain(metrics.names()).map(Into::into).collect();
        }
        let columns = metrics.columns().into_iter().map(f64::from);
        self.add([metrics.step as f64, metrics.learning_rate].into_iter().chain(columns).collect());
    }

    fn add(&mut self, values: Vec<f64>) {
        if values.len() != self.names.len() + 1 {
            return;
        }
        match self.rows.last_mut() {
            Some(row) if row.steps < self.stretch => row.add(&values, 1),
            _ => self.rows.push(Row { steps: 1, sums: values }),
        }
        if self.rows.len() > ROWS {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.stretch *= 2;
        let pairs = std::mem::take(&mut self.rows);
        for row in pairs {
            match self.rows.last_mut() {
                Some(before) if before.steps < self.stretch => before.add(&row.sums, row.steps),
                _ => self.rows.push(row),
            }
        }
    }

    /// Every column over the steps.
    pub(super) fn curves(&self) -> Vec<Curve> {
        let curve = |(column, name): (usize, &String)| {
            let points: Vec<_> = self.rows.iter().map(|row| (row.mean(0), row.mean(column + 1))).collect();
            Curve::new(name, &points)
        };
        self.names.iter().enumerate().map(curve).collect()
    }
}

impl Row {
    fn add(&mut self, sums: &[f64], steps: usize) {
        self.steps += steps;
        self.sums.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
    }

    fn mean(&self, column: usize) -> f64 {
        self.sums[column] / self.steps as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(steps: usize) -> Table {
        let rows: Vec<_> = (1..=steps).map(|step| format!("{step},0.001,{}\n", 2 * step)).collect();
        Table::parse(&format!("step,learning_rate,total\n{}", rows.concat()))
    }

    #[test]
    fn a_table_of_any_length_stays_small_and_keeps_its_means() {
        for steps in [1, ROWS, ROWS + 1, 12_345, 100_000] {
            let table = table(steps);
            assert!(table.rows.len() <= ROWS && table.rows.len() >= steps.min(ROWS / 2), "{}", table.rows.len());
            let total: f64 = table.rows.iter().map(|row| row.sums[2]).sum();
            assert!((total - (steps * (steps + 1)) as f64).abs() < 1e-6 * total);
            assert_eq!(table.rows.iter().map(|row| row.steps).sum::<usize>(), steps);
        }
    }

    #[test]
    fn a_row_that_is_cut_short_is_left_out_and_no_table_is_none() {
        let cut = Table::parse("step,learning_rate,total\n1,0.001,2\n2,0.0");
        assert_eq!(cut, table(1));
        assert!(Table::parse("").curves().is_empty());
    }
}
