//! What the attribute costs: time of a call, and time of a build.
//!
//! `cargo bench -p redlock-tests --bench attribute`, or with `-- calls` or `-- build` behind it for one of the two.
//!
//! What is compared takes turns in one run, so that whatever else the machine does meets all of it.
mod build;
mod calls;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |part: &str| asked.is_empty() || asked.iter().any(|name| name == part);
    if is_asked("calls") {
        calls::compare();
    }
    if is_asked("build") {
        build::compare();
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
