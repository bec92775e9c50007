//! What the terminal shows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use redlock_runtime::NodeStanding;
use unicode_width::UnicodeWidthStr;

use super::app::{App, Mode};
use crate::clock::{since_1970, std_now as clock};
use crate::duration::short;
use crate::fires;
use crate::fleet::{Change, Event, Lamp, Model, Order, Row, Sort, State, padded};
use crate::output::plain;

/// Which colours there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    has_colours: bool,
}

impl Paint {
    pub(super) fn of(has_colours: bool) -> Self {
        Self { has_colours }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    #[expect(clippy::unused_self, reason = "as the other ways to paint")]
    fn soft(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    #[expect(clippy::unused_self, reason = "as the other ways to paint")]
    fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// So many lines are for nodes, at most.
const MOST_LAMPS: u16 = 4;

/// So many lines are for locks, with their heads, before nodes have any.
const FEWEST_ROWS: u16 = 3;

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, paint: Paint, now: Instant) {
    let fleet = app.fleet().clone();
    let model = fleet.model();
    let lamps = lamps(model.lamps(), usize::from(frame.area().width), paint);
    // The heads and a few rows come first where there is little room.
    let room = frame.area().height.saturating_sub(2 + FEWEST_ROWS);
    let lamp_lines = u16::try_from(lamps.len()).unwrap_or(MOST_LAMPS).min(MOST_LAMPS).min(room);
    let [top, nodes, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lamp_lines),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(sums(&model, paint, now), top);
    frame.render_widget(Paragraph::new(lamps), nodes);
    match app.mode.clone() {
        Mode::Inspect(name) => {
            app.note_seen(&[]);
            frame.render_widget(Paragraph::new(one(&model, &name, middle, paint, now)), middle);
        }
        Mode::List | Mode::Search | Mode::Ask(_) => {
            let table = table(app, &model, middle, paint, now);
            frame.render_widget(Paragraph::new(table), middle);
        }
    }
    frame.render_widget(foot(app, &model, usize::from(bottom.width), paint), bottom);
}

fn sums(model: &Model, paint: Paint, now: Instant) -> Line<'static> {
    let voting = model.lamps().iter().filter(|lamp| lamp.standing == NodeStanding::Votes).count();
    let mut spans = vec![
        Span::styled("redlock", paint.strong()),
        Span::styled("  held ", paint.soft()),
        Span::raw(model.held().to_string()),
        Span::styled("  waiting ", paint.soft()),
        Span::raw(model.waiting().to_string()),
        Span::styled("  nodes voting ", paint.soft()),
        Span::raw(format!("{voting} of {}", model.lamps().len())),
    ];
    match (model.problem(), model.surveyed()) {
        (Some(problem), _) => spans.push(Span::styled(format!("  {}", plain(problem)), paint.colour(Color::Red))),
        (None, None) => spans.push(Span::styled("  looking …", paint.soft())),
        (None, Some((at, _))) => {
            let ago = now.saturating_duration_since(at);
            // While all are looked at all the time there is nothing to say.
            if ago > Duration::from_secs(3) {
                spans.push(Span::styled(format!("  all seen {} ago", short(ago)), paint.soft()));
            }
        }
    }
    Line::from(spans)
}

/// As many nodes in a line as fit.
fn lamps(lamps: &[Lamp], width: usize, paint: Paint) -> Vec<Line<'static>> {
    let (mut lines, mut line, mut taken) = (Vec::new(), Vec::new(), 0);
    for lamp in lamps {
        let (sign, colour) = match lamp.standing {
            NodeStanding::Votes => ("●", Color::Green),
            NodeStanding::Young => ("◆", Color::Yellow),
            _ => ("✖", Color::Red),
        };
        let mut text = format!(" {}", lamp.node);
        if lamp.standing != NodeStanding::Votes {
            text = format!("{text} {}", lamp.standing);
        }
        if let Some(round_trip) = lamp.round_trip {
            text = format!("{text} {}", short(round_trip));
        }
        let columns = text.chars().count() + 4;
        if taken > 0 && taken + columns > width {
            lines.push(Line::from(std::mem::take(&mut line)));
            taken = 0;
        }
        taken += columns;
        line.push(Span::styled(sign, paint.colour(colour)));
        line.push(Span::styled(format!("{text}   "), paint.soft()));
    }
    lines.push(Line::from(line));
    lines
}

/// How wide the columns are.
struct Columns {
    name: usize,
    state: usize,
    holder: usize,
    age: usize,
    left: usize,
    waiting: usize,
}

impl Columns {
    fn of(width: u16) -> Self {
        let (state, age, left, waiting) = (9, 9, if width >= 100 { 18 } else { 12 }, 8);
        let rest = usize::from(width).saturating_sub(state + age + left + waiting + 5);
        let holder = (rest * 9 / 20).clamp(8, 40);
        Self { name: rest.saturating_sub(holder).max(8), state, holder, age, left, waiting }
    }
}

/// The rows that fit, below their heads.
fn table(app: &mut App, model: &Model, area: Rect, paint: Paint, now: Instant) -> Vec<Line<'static>> {
    let columns = Columns::of(area.width);
    let matching = app.window.of(model, now).matching;
    let chosen = app.fit(usize::from(area.height.saturating_sub(1)), matching);
    let view = app.window.of(model, now);
    let names: Vec<Arc<str>> = view.rows.iter().map(|row| Arc::clone(&row.name)).collect();
    app.note_seen(&names);
    let mut lines = vec![heads(app.window.sort, app.window.order, &columns, paint)];
    lines.extend(view.rows.iter().enumerate().map(|(place, row)| {
        let line = cells(row, &columns, paint, now);
        if place == chosen { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
    }));
    if matching == 0 {
        let text = match (model.surveyed(), app.window.search.is_empty()) {
            (None, _) => "",
            (Some(_), true) => "no lock is held",
            (Some(_), false) => "no lock matches",
        };
        lines.push(Line::styled(text, paint.soft()));
    }
    lines
}

fn heads(sort: Sort, order: Order, columns: &Columns, paint: Paint) -> Line<'static> {
    let head = |of: Sort, text: &str, width: usize| {
        let arrow = if order == Order::Ascending { "↑" } else { "↓" };
        let text = if of == sort { format!("{text}{arrow}") } else { text.to_owned() };
        Span::styled(format!("{} ", padded(&text, width)), paint.strong().add_modifier(Modifier::UNDERLINED))
    };
    Line::from(vec![
        head(Sort::Name, "LOCK", columns.name),
        head(Sort::State, "STATE", columns.state),
        head(Sort::Holder, "HOLDER", columns.holder),
        head(Sort::Age, "HELD FOR", columns.age),
        head(Sort::Left, "LEFT", columns.left),
        head(Sort::Waiting, "WAITING", columns.waiting),
    ])
}

fn cells(row: &Row, columns: &Columns, paint: Paint, now: Instant) -> Line<'static> {
    let is_free = row.state == State::Free;
    let state = row.shown_state();
    let colour = match row.state {
        State::Held => Color::Green,
        State::Unsettled => Color::Yellow,
        State::Kept | State::Free => Color::Gray,
    };
    let age = if is_free { "-".to_owned() } else { age(row, now) };
    let waiting = if row.waiting > 0 { paint.colour(Color::Cyan).add_modifier(Modifier::BOLD) } else { paint.soft() };
    let cell = |text: &str, width: usize, style: Style| Span::styled(format!("{} ", padded(text, width)), style);
    Line::from(vec![
        cell(&row.shown, columns.name, Style::new()),
        cell(&state, columns.state, paint.colour(colour)),
        cell(row.holder.as_deref().unwrap_or("-"), columns.holder, Style::new()),
        cell(&age, columns.age, Style::new()),
        cell(&left(row, columns.left, now), columns.left, Style::new()),
        cell(&row.waiting.to_string(), columns.waiting, waiting),
    ])
}

/// An owner that did not say since when it holds the lock is older than it was seen.
fn age(row: &Row, now: Instant) -> String {
    format!("{}{}", if row.acquired.is_some() { "" } else { "≥" }, short(row.age(now)))
}

/// A bar, and the time.
fn left(row: &Row, width: usize, now: Instant) -> String {
    let Some(left) = row.left(now) else { return "-".to_owned() };
    let bar = width.saturating_sub(8).max(1);
    let share = if row.ttl.is_zero() { 0.0 } else { left.as_secs_f64() / row.ttl.as_secs_f64() };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a few columns"
    )]
    let full = ((share.min(1.0) * bar as f64).round() as usize).min(bar);
    format!("{}{} {}", "━".repeat(full), "╌".repeat(bar - full), short(left))
}

/// All about one lock.
fn one(model: &Model, name: &str, area: Rect, paint: Paint, now: Instant) -> Vec<Line<'static>> {
    let fact =
        |what: &str, text: String| Line::from(vec![Span::styled(padded(what, 20), paint.soft()), Span::raw(text)]);
    let width = usize::from(area.width);
    let mut lines = vec![Line::raw(""), Line::styled(padded(&plain(name), width), paint.strong())];
    match model.row(name) {
        None => lines.push(fact("state", "free".to_owned())),
        Some(row) => {
            let (votes, needed, nodes) = row.votes;
            lines.push(fact("state", row.shown_state()));
            lines.push(fact("holder", row.holder.as_deref().unwrap_or("-").to_owned()));
            lines.push(fact("held for", if row.state == State::Free { "-".to_owned() } else { age(row, now) }));
            lines.push(fact("left", row.left(now).map_or_else(|| "-".to_owned(), short)));
            lines.push(fact("waiting", row.waiting.to_string()));
            lines.push(fact("fencing token", row.token.map_or_else(|| "-".to_owned(), |token| token.to_string())));
            if row.permits.is_empty() {
                lines.push(fact("on nodes", format!("{votes} of {nodes}, {needed} are needed")));
            }
            if let Some(run) = row.last_run {
                lines.push(fact("last completed fire", fires::told(run.fire, since_1970())));
            }
            for permit in &row.permits {
                let since = permit.acquired.map(|acquired| short(now.saturating_duration_since(acquired)));
                let (state, holder) = (permit.state.name(), permit.holder.as_deref().unwrap_or("-"));
                lines.push(fact(
                    &format!("permit {}", permit.number),
                    format!("{state} {holder} {}", since.unwrap_or_default()),
                ));
            }
        }
    }
    lines.push(Line::raw(""));
    lines.push(Line::styled(
        format!("HISTORY since this began to look, {} ago", short(now.saturating_duration_since(model.began()))),
        paint.strong().add_modifier(Modifier::UNDERLINED),
    ));
    let room = usize::from(area.height).saturating_sub(lines.len());
    let (moment, seen) = (since_1970(), clock());
    debug_assert!(seen >= now, "clocks go on");
    lines.extend(model.history().of(name).take(room).map(|event| happened(event, moment, width)));
    lines
}

fn happened(Event { at, change, waiting }: &Event, moment: Duration, width: usize) -> Line<'static> {
    let ago = format!("{} ago", short(moment.saturating_sub(*at)));
    let what = match change {
        Change::Acquired { holder, token } => {
            let token = token.map(|token| format!(", fencing token {token}")).unwrap_or_default();
            format!("acquired by {}{token}", holder.as_deref().unwrap_or("somebody who did not say"))
        }
        Change::Kept => "released, and kept until its min_hold is over".to_owned(),
        Change::Unsettled => "unsettled".to_owned(),
        Change::Released { held_for } => format!("released after {}", short(*held_for)),
    };
    Line::raw(padded(&format!("{} {what}, {waiting} waiting", padded(&ago, 12)), width))
}

/// What is asked before a lock is taken. Names may be long and terminals narrow; what the answer is about is to be read on each.
fn question(name: &str, holder: &str, width: usize) -> String {
    let cut = |text: &str, room: usize| padded(text, room.min(text.width())).trim_end().to_owned();
    let whole = |name: &str, holder: &str| format!("take {name} from {holder}, who may still be at work? y/N");
    let others = whole("", "").width();
    if others + 16 <= width {
        let room = width - others;
        let of_name = name.width().min(room.saturating_sub(holder.width()).max(room / 2));
        return whole(&cut(name, of_name), &cut(holder, room - of_name));
    }
    format!("y/N: take {}", cut(name, width.saturating_sub("y/N: take ".len())))
}

fn foot(app: &App, model: &Model, width: usize, paint: Paint) -> Line<'static> {
    let keys = match &app.mode {
        Mode::Search => return Line::from(format!("search: {}▏", plain(&app.window.search))),
        Mode::Ask(name) => {
            let holder = model.row(name).and_then(|row| row.holder.clone());
            let holder = holder.as_deref().unwrap_or("its holder");
            let text = question(&plain(name), holder, width);
            return Line::styled(text, paint.colour(Color::Red).add_modifier(Modifier::BOLD));
        }
        Mode::Inspect(_) => "esc back  r reset  q quit",
        Mode::List => "↑↓ choose  ⏎ inspect  / search  n h a l w s sort  r reset  q quit",
    };
    match &app.message {
        Some(message) => Line::styled(plain(message), paint.strong()),
        None if !app.window.search.is_empty() => {
            Line::styled(format!("matching {}  esc all  {keys}", plain(&app.window.search)), paint.soft())
        }
        None => Line::styled(keys, paint.soft()),
    }
}
