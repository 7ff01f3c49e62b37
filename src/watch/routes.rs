//! What each path answers. The paths are fixed, and a run is named by its number: nothing of a
//! request becomes part of a file's path.

use serde::Serialize;
use serde_json::json;

use super::Site;
use super::cards::Kind;
use super::folder::Folder;
use super::http::{Request, Response, Status};
use super::mark::Mark;
use crate::error::Result;
use crate::label::LabelingReport;
use crate::report;

/// Most rows of the sample browser at a time.
const MAX_ROWS: usize = 100;

/// The page's own files: path, type, content.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("assets/page.html")),
    ("/style.css", CSS, include_str!("assets/style.css")),
    ("/icon.svg", SVG, include_str!("assets/icon.svg")),
    ("/main.js", JS, include_str!("assets/main.js")),
    ("/dom.js", JS, include_str!("assets/dom.js")),
    ("/chart.js", JS, include_str!("assets/chart.js")),
    ("/curves.js", JS, include_str!("assets/curves.js")),
    ("/samples.js", JS, include_str!("assets/samples.js")),
    ("/labels.js", JS, include_str!("assets/labels.js")),
    ("/results.js", JS, include_str!("assets/results.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";

/// Answers a request.
pub(super) fn route(site: &Site, request: &Request) -> Response {
    let path = request.path.as_str();
    if let Some((_, content_type, text)) = FILES.iter().find(|(name, ..)| *name == path) {
        return Response {
            status: Status::Ok,
            content_type,
            body: text.as_bytes().to_vec(),
        };
    }
    if path == "/api/runs" {
        return json_of(runs(site));
    }
    let of_run: fn(&Folder, &Request) -> Option<Result<serde_json::Value>> = match path {
        "/api/metrics" => metrics,
        "/api/rows" => rows,
        "/api/labels" => |folder, _| Some(labels(folder)),
        "/api/results" => |folder, _| Some(results(folder)),
        _ => return Response::refusal(Status::NotFound, "there is nothing here"),
    };
    let number = request.value("run").and_then(|run| run.parse().ok());
    let Some(folder) = number.and_then(|number| site.folder(number)) else {
        return Response::refusal(Status::NotFound, "expected `run`, the number of a run");
    };
    match of_run(&folder, request) {
        Some(answer) => json_of(answer),
        None => Response::refusal(Status::BadRequest, "the query is not one that is answered"),
    }
}

fn json_of(value: Result<impl Serialize>) -> Response {
    let body = match value {
        Ok(value) => serde_json::to_vec(&value).map_err(|fault| fault.to_string()),
        Err(fault) => Err(fault.to_string()),
    };
    match body {
        Ok(body) => Response {
            status: Status::Ok,
            content_type: JSON,
            body,
        },
        Err(why) => Response::refusal(Status::Failed, &why),
    }
}

fn runs(site: &Site) -> Result<serde_json::Value> {
    let run = |(number, folder): (usize, _)| {
        let folder: &Folder = folder;
        json!({
            "number": number,
            "name": folder.name,
            "color": report::color(number),
            "life": folder.life(),
            "kinds": folder.kinds(),
        })
    };
    let folders = site.folders();
    let runs = folders.iter().map(|folder| &**folder).enumerate().map(run);
    Ok(json!({
        "server": site.started,
        "runs": runs.collect::<Vec<_>>(),
        "first": report::FIRST,
        "not_first": report::NOT_FIRST,
    }))
}

fn metrics(folder: &Folder, request: &Request) -> Option<Result<serde_json::Value>> {
    let after = match request.value("after") {
        Some(after) => after.parse().ok()?,
        None => Mark::default(),
    };
    Some(folder.metrics(after).map(|found| json!(found)))
}

fn rows(folder: &Folder, request: &Request) -> Option<Result<serde_json::Value>> {
    let kind = Kind::named(request.value("kind")?)?;
    let from = request.value("from")?.parse().ok()?;
    let n: usize = request.value("n")?.parse().ok()?;
    let cards = folder.cards(kind, from, n.min(MAX_ROWS));
    Some(cards.map(|found| json!(found)))
}

fn labels(folder: &Folder) -> Result<serde_json::Value> {
    let run = folder.run()?;
    let (labeler, whole) = folder.labels()?;
    let report = LabelingReport {
        labelers: labeler.into_iter().collect(),
        agreements: Vec::new(),
    };
    Ok(json!({
        "whole": whole,
        "tables": report::label_tables(&run, &report)?,
        "labeler": report.labelers.first(),
        "truth": report::json(&run, "label.json")?,
        "reward_model": report::json(&run, "reward.json")?,
    }))
}

fn results(folder: &Folder) -> Result<serde_json::Value> {
    let run = folder.run()?;
    Ok(json!({
        "tables": report::result_tables(&run)?,
        "stages": report::json(&run, "stages.json")?,
        "config": report::text(&run, "config.toml")?,
    }))
}
