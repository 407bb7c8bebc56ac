//! Where a file has its columns.

use csv::ByteRecord;

use crate::metrics::{COUNT, METRICS};

/// The place of each column that we know, in one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub start: [Option<usize>; 2],
    pub end: [Option<usize>; 2],
    pub project: Option<usize>,
    pub user: Option<usize>,
    pub key: Option<usize>,
    pub model: Option<usize>,
    pub tier: Option<usize>,
    pub batch: Option<usize>,
    pub metrics: [Option<usize>; COUNT],
}

/// What a file's first line says.
pub(super) struct Header {
    pub columns: Columns,
    /// Columns that we do not know.
    pub unknown: Vec<String>,
    /// Columns that count as empty because they are not there.
    pub absent: Vec<&'static str>,
}

/// Reads the first line; an error says what is wrong with it.
pub(super) fn read(header: &ByteRecord) -> Result<Header, String> {
    let mut columns = Columns::default();
    let mut unknown = Vec::new();
    for (at, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name).map_err(|_| "its first line is not UTF-8".to_owned())?.trim();
        match columns.place(name) {
            Some(place @ None) => *place = Some(at),
            Some(Some(_)) => return Err(format!("column {name:?} is there twice")),
            None => unknown.push(name.to_owned()),
        }
    }
    let has = |places: &[Option<usize>]| places.iter().any(Option::is_some);
    let needed = [
        ("start_time or start_time_iso", has(&columns.start)),
        ("end_time or end_time_iso", has(&columns.end)),
        ("input_tokens", columns.metrics[1].is_some()),
        ("output_tokens", columns.metrics[2].is_some()),
    ];
    let missing: Vec<&str> = needed.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(format!("its first line has no column {}", missing.join(", ")));
    }
    let identity = [
        ("project_id", columns.project),
        ("user_id", columns.user),
        ("api_key_id", columns.key),
        ("model", columns.model),
        ("service_tier", columns.tier),
        ("batch", columns.batch),
    ];
    let metrics = METRICS.iter().zip(columns.metrics).map(|(metric, place)| (metric.name, place));
    let absent = identity.into_iter().chain(metrics).filter(|(_, place)| place.is_none()).map(|(name, _)| name);
    Ok(Header { absent: absent.collect(), unknown, columns })
}

impl Columns {
    fn place(&mut self, name: &str) -> Option<&mut Option<usize>> {
        Some(match name {
            "start_time" => &mut self.start[0],
            "start_time_iso" => &mut self.start[1],
            "end_time" => &mut self.end[0],
            "end_time_iso" => &mut self.end[1],
            "project_id" => &mut self.project,
            "user_id" => &mut self.user,
            "api_key_id" => &mut self.key,
            "model" => &mut self.model,
            "service_tier" => &mut self.tier,
            "batch" => &mut self.batch,
            name => {
                let at = METRICS.iter().position(|metric| metric.name == name)?;
                &mut self.metrics[at]
            }
        })
    }
}
