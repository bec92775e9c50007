//! The page, in a real browser.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redlock_runtime::Timeout;
use redlock_tests::Servers;

use crate::browser::Browser;
use crate::{fill, manager, serve};

/// How many rows the page has.
const ROWS: &str = "document.querySelectorAll('#rows tr[data-name]').length";

fn row(name: &str) -> String {
    format!("document.querySelector('#rows tr[data-name=\"{name}\"]')")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one visit to the page")]
async fn a_crowd_comes_and_goes_and_a_killed_node_turns_its_lamp() {
    let Some(mut browser) = Browser::start() else { return };
    let servers = Servers::start(3);
    let (_program, place) = serve(&servers, &[]);
    browser.open(&place.url("/"));
    browser.until("all vote", "document.querySelectorAll('.node.votes').length === 3");
    browser.until("nothing is held", "!document.getElementById('empty').hidden");

    let locks = manager(&servers);
    let is_over = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..30)
        .map(|number| {
            let (locks, is_over) = (locks.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let name = format!("warehouse:{}", number % 5);
                    let Ok(guard) = locks.lock(name).timeout(Timeout::After(Duration::from_secs(60))).acquire().await
                    else {
                        continue;
                    };
                    // What the page shows is not this short.
                    tokio::time::sleep(Duration::from_millis(300 + 40 * number)).await;
                    let _ = guard.release().await;
                }
            })
        })
        .collect();
    let evil = "<script>document.title='evil'</script>\u{202e}";
    let _evil = locks.lock(evil).acquire().await.unwrap();
    let mut held = Vec::new();
    for number in 0..14 {
        held.push(
            locks
                .lock(format!("report:2026-11-{number:02}"))
                .owner_label(format!("worker-{number} 10.0.3.{number} pid {}", 4100 + number))
                .acquire()
                .await
                .unwrap(),
        );
    }
    browser.until(
        "the crowd's locks are there, and somebody waits",
        &format!("{ROWS} >= 20 && document.querySelectorAll('#rows td.waits').length >= 5"),
    );
    browser.until("the chart shows it", "document.getElementById('edge').getAttribute('d').length > 10 && Number(document.getElementById('chart-waiting').textContent) > 5");
    assert_eq!(browser.value("document.title"), "redlock", "a name is text");
    browser.until("and is shown", "[...document.querySelectorAll('#rows bdi')].some(text => text.textContent.startsWith('<script>') && text.textContent.endsWith('\\\\u{202e}'))");
    assert_eq!(browser.value("document.querySelectorAll('#rows script').length"), 0);

    // With the keyboard alone.
    browser.press("/");
    assert_eq!(browser.value("document.activeElement.id"), "search");
    for letter in "warehouse:3".chars() {
        browser.press(&letter.to_string());
    }
    browser.until("it is found alone", &format!("{ROWS} === 1 && {}", row("warehouse:3")));
    browser.press("ArrowDown");
    browser.until("its row is chosen", &format!("{}.contains(document.activeElement)", row("warehouse:3")));
    browser.press("Enter");
    browser.until(
        "its own page is open",
        "location.pathname === '/lock' && document.querySelector('#one-name').textContent === 'warehouse:3'",
    );
    browser.until("with a history", "document.querySelectorAll('#history tr').length >= 3");
    browser.until("and the nodes", "document.querySelectorAll('.node.votes').length === 3");
    browser.shoot("lock-light");
    browser.open(&place.url("/?sort=waiting"));
    browser.until(
        "the most wanted come first",
        &format!("{ROWS} >= 20 && document.querySelector('#rows tr[data-name] td.waits')"),
    );
    assert_eq!(
        browser.value("document.querySelector('th[data-sort=waiting]').getAttribute('aria-sort')"),
        "descending"
    );
    assert_eq!(browser.value("document.getElementById('table').getAttribute('aria-rowcount')"), "21");
    browser.until(
        "rows have names for those who cannot see them",
        "document.querySelectorAll('#rows tr[aria-rowindex]').length >= 20",
    );
    browser.shoot("light");
    browser.prefer("dark");
    assert_eq!(browser.value("matchMedia('(prefers-color-scheme: dark)').matches"), true);
    browser.shoot("dark");
    let dark = browser.value("getComputedStyle(document.body).backgroundColor");
    browser.value("document.getElementById('theme').click()");
    let light = browser.value("getComputedStyle(document.body).backgroundColor");
    assert_ne!(dark, light, "the switch is stronger than the system");

    servers[2].kill();
    browser.until("its lamp turned", "document.querySelectorAll('.node')[2].classList.contains('bad')");
    assert_eq!(browser.value("document.getElementById('sum-nodes').textContent"), "2/3");
    browser.until("and it is said", "document.getElementById('said').textContent.includes('unreachable')");
    browser.shoot("node-killed");

    is_over.store(true, Ordering::Relaxed);
    for task in crowd {
        task.await.unwrap();
    }
    for guard in held {
        let _ = guard.release().await;
    }
    browser.until("all but one are gone", &format!("{ROWS} === 1"));
    assert_eq!(
        browser
            .value("performance.getEntriesByType('resource').every(entry => entry.name.startsWith(location.origin))"),
        true
    );
}

#[test]
fn the_page_is_quick_with_fifty_thousand_locks() {
    let Some(mut browser) = Browser::start() else { return };
    let servers = Servers::start(1);
    fill(&servers, 50_000);
    let (_program, place) = serve(&servers, &[]);
    browser.open(&place.url("/"));
    browser.until("all are counted", "document.getElementById('found').textContent === '50,000 locks'");
    for share in [0.5, 1.0, 0.25] {
        browser.value(&format!(
            "(() => {{ const s = document.getElementById('scroll'); s.scrollTop = s.scrollHeight * {share}; }})()"
        ));
        // What is in the middle of the table's part of the screen is a row, not the space for one.
        browser.until("rows are where somebody scrolled to", "(() => { const box = document.getElementById('scroll').getBoundingClientRect(); \
            const there = document.elementFromPoint(box.left + 40, box.top + box.height / 2); return there && there.closest('tr[data-name]'); })()");
    }
    browser.shoot("fifty-thousand");
    for sort in ["name", "waiting", "left"] {
        let before = browser.value("Number(document.documentElement.dataset.updates)").as_u64().unwrap();
        browser.value(&format!("document.querySelector('th[data-sort={sort}] button').click()"));
        browser.until("it was sorted", &format!("Number(document.documentElement.dataset.updates) > {before}"));
    }
    let rows = browser.value(ROWS).as_u64().unwrap();
    assert!(rows < 500, "only what is on the screen is in the page: {rows}");
    browser.until("it was told more than once", "Number(document.documentElement.dataset.updates) > 8");
    let worst = browser.value("Number(document.documentElement.dataset.worstUpdateMs)").as_f64().unwrap();
    eprintln!("the slowest of the updates took {worst} ms");
    assert!(worst < 200.0, "an update takes {worst} ms");
}
