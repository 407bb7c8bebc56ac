//! How far the reading of an export is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::Screen;
use crate::compare::Reading;
use crate::db::Observer;
use crate::engine::Progress;

/// Shows how far the files have been read, of so many bytes.
pub(super) fn reading(screen: &Arc<Screen>, total: u64) -> Observer<Reading> {
    const EVERY: Duration = Duration::from_millis(100);
    const MEGABYTE: u64 = 1_000_000;
    let (screen, began) = (Arc::clone(screen), Instant::now());
    let in_megabytes = move |bytes: u64, rows| {
        let [done, total] = [bytes, total].map(|bytes| bytes.div_ceil(MEGABYTE));
        Progress { unit: "MB".into(), done, total, written: rows, written_unit: "rows".into() }
    };
    screen.progress("reading the export", &in_megabytes(0, 0), None);
    let told = Mutex::new(began);
    Observer::new(move |reading: Reading| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < EVERY || reading.bytes == 0 {
            return;
        }
        *told = Instant::now();
        let Reading { bytes, rows } = reading;
        if !screen.is_quiet() {
            screen.json("reading", &json!({ "unit": "bytes", "done": bytes, "total": total, "rows": rows }));
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let eta = began.elapsed().mul_f64(total.saturating_sub(bytes) as f64 / bytes as f64);
        screen.progress("reading the export", &in_megabytes(bytes, rows), Some(eta));
    })
}
