//! The dashboard, the alerts and their page name what is exported, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use redlock_runtime::observe::names;
use serde_json::Value;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)).unwrap()
}

/// The words of a text that could be a metric or a label.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').filter(|word| !word.is_empty())
}

/// The metrics that a query names, as they are exported: a histogram is several series.
fn metrics(text: &str) -> BTreeSet<String> {
    let series = words(text).filter(|word| word.starts_with("redlock_"));
    let exported = |series: &str| {
        let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|part| series.strip_suffix(part));
        of_histogram.filter(|name| name.ends_with("_duration_seconds")).unwrap_or(series).to_owned()
    };
    series.map(exported).collect()
}

/// The labels that a query names: in selectors, and behind `by` and `on`.
fn labels(query: &str) -> BTreeSet<String> {
    let selectors = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let selected = selectors.flat_map(|selector| selector.split(',').filter_map(|one| one.split(['=', '!']).next()));
    let grouped =
        ["by (", "on ("].iter().flat_map(|by| query.split(by).skip(1)).filter_map(|rest| rest.split(')').next());
    let grouped = grouped.flat_map(|labels| labels.split(','));
    selected.chain(grouped).map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect()
}

/// What the rules name, or record, besides what is exported: how often a job runs, its last run, and since when it is named.
const RECORDED: [&str; 3] =
    ["redlock_job_period_seconds", "redlock_job_last_run_timestamp_seconds", "redlock_job_named_timestamp_seconds"];

/// Expects that a query names what is exported, with labels that it has.
#[track_caller]
fn check_query(query: &str, more: &[&str]) {
    let named = metrics(query);
    assert!(!named.is_empty(), "{query}");
    let mut known: BTreeSet<_> = ["job", "instance", "le"].map(str::to_owned).into();
    for name in &named {
        let exported = names::ALL.iter().find(|(exported, _)| exported == name);
        assert!(exported.is_some() || more.contains(&name.as_str()), "{name} is not exported: {query}");
        // What the rules themselves record.
        if exported.is_none() {
            known.insert("lock".to_owned());
        }
        known.extend(exported.iter().flat_map(|(_, labels)| labels.iter().map(|label| (*label).to_owned())));
    }
    let unknown: Vec<_> = labels(query).difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?} is no label of {named:?}: {query}");
}

#[test]
fn the_dashboard_names_what_is_exported_and_says_what_each_panel_means() {
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let (page, mut ids, mut all) = (read("observe.md"), BTreeSet::new(), String::new());
    let panels = dashboard["panels"].as_array().unwrap();
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let place = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}");
        rows.push((place("y"), place("x")));
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|about| about.len() > 20), "{title} says nothing");
        assert!(page.contains(title.split(',').next().unwrap()), "the page does not know {title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let query = target["expr"].as_str().unwrap();
            check_query(query, &[]);
            all.push_str(query);
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let places: BTreeSet<_> = rows.iter().collect();
    assert_eq!(places.len(), rows.len(), "two panels at one place");
    let shown = metrics(&all);
    for (name, _) in names::ALL {
        assert!(shown.contains(name), "{name} is on no panel");
    }
    let variables: Vec<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "instance", "lock"]);
}

#[test]
fn the_alerts_name_what_is_exported_and_the_page_knows_them() {
    let (alerts, page) = (read("alerts.yml"), read("observe.md"));
    let mut rules = alerts.split("- alert: ").skip(1).peekable();
    assert!(rules.peek().is_some());
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule.lines().next().unwrap();
        let (_, behind) = rule.split_once("expr:").unwrap_or_else(|| panic!("{name} has no query"));
        let end = ["\n        for:", "\n        labels:"].iter().filter_map(|next| behind.find(next)).min();
        let query = &behind[..end.unwrap_or_else(|| panic!("{name} has no severity"))];
        check_query(query, &RECORDED);
        assert!(rule.contains("severity:") && rule.contains("summary:"), "{name}");
        assert!(page.contains(&format!("| `{name}` |")), "the page does not say what to do about {name}");
        names.insert(name.to_owned());
    }
    let on_page = page.split("| `Redlock").skip(1).map(|row| format!("Redlock{}", row.split('`').next().unwrap()));
    assert_eq!(on_page.collect::<BTreeSet<_>>(), names);
}

#[test]
fn the_recorded_rules_name_what_is_exported() {
    let alerts = read("alerts.yml");
    let named: Vec<_> = alerts
        .split("\n      - record: ")
        .skip(1)
        .map(|rule| {
            let (name, behind) = rule.split_once("\n        expr: |").unwrap();
            check_query(behind.split("\n\n").next().unwrap(), &RECORDED);
            name
        })
        .collect();
    assert_eq!(named, RECORDED[1..]);
}

/// Prometheus' own tool reads the rules, and says which alerts fire of the series in `tests/alerts`.
#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_when_it_should() {
    let promtool = |arguments: &[&str]| {
        let mut command = std::process::Command::new("promtool");
        command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        command.output()
    };
    if promtool(&["--version"]).is_err() {
        assert!(std::env::var_os("REDLOCK_REQUIRE_PROMTOOL").is_none(), "there is no promtool; install prometheus");
        eprintln!("SKIPPED: there is no promtool; install the package prometheus to try the alerts");
        return;
    }
    let files = ["tests/alerts/jobs.yml", "tests/alerts/locks_and_nodes.yml"];
    for arguments in [&["check", "rules", "docs/alerts.yml"][..], &[&["test", "rules"][..], &files].concat()] {
        let output = promtool(arguments).unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    let tried =
        files.map(|file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap());
    for name in read("alerts.yml").split("- alert: ").skip(1).map(|rule| rule.lines().next().unwrap()) {
        assert!(
            tried.iter().any(|text| text.contains(&format!("alertname=\"{name}\""))),
            "{name} is tried by no series"
        );
    }
}

#[test]
fn the_page_has_each_metric_with_its_labels() {
    let page = read("observe.md");
    for (name, labels) in names::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not explained"));
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        assert_eq!(row.split('|').nth(3).unwrap().trim(), labels.join(", "), "{name}");
    }
}
