//! What a key does.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::{mpsc, watch};

use crate::fleet::{Fleet, Sort, Viewer, Window};
use crate::output::plain;

/// What is on the screen, beside the locks.
pub(super) struct App {
    fleet: Fleet,
    viewer: Viewer,
    /// The rows that are shown; `from` and `count` are what fits the screen.
    pub(super) window: Window,
    /// The chosen row, counted from zero over all that match.
    chosen: usize,
    /// The name of its lock, so that it stays chosen when others come and go.
    chosen_name: Option<Arc<str>>,
    pub(super) mode: Mode,
    /// What came of the last reset.
    pub(super) message: Option<String>,
    resets: (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>),
}

/// What keys are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// To choose a lock.
    List,
    /// To write what is searched for.
    Search,
    /// To look at one lock.
    Inspect(Arc<str>),
    /// To answer whether this lock is to be taken from its holder.
    Ask(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    GoOn,
    End,
}

impl App {
    pub(super) fn new(fleet: Fleet, sort: Sort) -> Self {
        let window = Window { sort, order: sort.usual_order(), ..Window::default() };
        Self {
            viewer: fleet.viewer(),
            fleet,
            window,
            chosen: 0,
            chosen_name: None,
            mode: Mode::List,
            message: None,
            resets: mpsc::unbounded_channel(),
        }
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.fleet.changed()
    }

    /// Returns when something came of a reset.
    pub(super) async fn resets_end(&mut self) {
        // There is always a sender.
        if let Some(message) = self.resets.1.recv().await {
            self.message = Some(message);
        }
    }

    /// Makes the window so long that it fills the screen, and has the chosen row in it; gives the chosen row's place in it. `names`
    /// are those of all rows from the first on that match, as far as they are wanted.
    pub(super) fn fit(&mut self, rows: usize, matching: usize) -> usize {
        self.window.count = rows.max(1);
        self.chosen = self.chosen.min(matching.saturating_sub(1));
        let last = self.window.from + self.window.count - 1;
        if self.chosen < self.window.from {
            self.window.from = self.chosen;
        } else if self.chosen > last {
            self.window.from += self.chosen - last;
        }
        self.window.from = self.window.from.min(matching.saturating_sub(self.window.count));
        self.chosen - self.window.from
    }

    /// What is on the screen now.
    pub(super) fn note_seen(&mut self, names: &[Arc<str>]) {
        self.chosen_name = names.get(self.chosen - self.window.from.min(self.chosen)).map(Arc::clone);
        let also = match &self.mode {
            Mode::Inspect(name) | Mode::Ask(name) => Some(Arc::clone(name)),
            Mode::List | Mode::Search => None,
        };
        self.viewer.sees(names.iter().map(Arc::clone).chain(also));
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Step {
        if key.kind == KeyEventKind::Release {
            return Step::GoOn;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Step::End;
        }
        match self.mode.clone() {
            Mode::List => return self.press_in_list(key.code),
            Mode::Search => self.press_in_search(key.code),
            Mode::Inspect(name) => match key.code {
                KeyCode::Char('q') => return Step::End,
                KeyCode::Char('r') => self.mode = Mode::Ask(name),
                KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Left => self.mode = Mode::List,
                _ => {}
            },
            Mode::Ask(name) => {
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    self.reset(&name);
                } else {
                    self.message = Some("left as it is".to_owned());
                }
                self.mode = Mode::List;
            }
        }
        Step::GoOn
    }

    fn press_in_list(&mut self, key: KeyCode) -> Step {
        self.message = None;
        let page = self.window.count.saturating_sub(1).max(1);
        match key {
            KeyCode::Char('q') => return Step::End,
            KeyCode::Up | KeyCode::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.chosen += 1,
            KeyCode::PageUp => self.chosen = self.chosen.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.chosen += page,
            KeyCode::Home | KeyCode::Char('g') => self.chosen = 0,
            KeyCode::End | KeyCode::Char('G') => self.chosen = usize::MAX / 2,
            KeyCode::Enter => {
                if let Some(name) = &self.chosen_name {
                    self.mode = Mode::Inspect(Arc::clone(name));
                }
            }
            KeyCode::Char('r') => {
                if let Some(name) = &self.chosen_name {
                    self.mode = Mode::Ask(Arc::clone(name));
                }
            }
            KeyCode::Char('/') => self.mode = Mode::Search,
            KeyCode::Esc => self.window.search.clear(),
            KeyCode::Char(letter) => {
                if let Some(sort) = sort_of(letter) {
                    self.sort_by(sort);
                }
            }
            _ => {}
        }
        Step::GoOn
    }

    fn sort_by(&mut self, sort: Sort) {
        self.window.order = if self.window.sort == sort { self.window.order.other() } else { sort.usual_order() };
        self.window.sort = sort;
        self.chosen = 0;
    }

    fn press_in_search(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.window.search.clear();
                self.mode = Mode::List;
            }
            KeyCode::Backspace => {
                self.window.search.pop();
            }
            KeyCode::Char(letter) => self.window.search.push(letter),
            _ => {}
        }
        self.chosen = 0;
    }

    fn reset(&mut self, name: &Arc<str>) {
        self.message = Some(format!("taking {} from its holder …", plain(name)));
        let (locks, name, told) = (self.fleet.locks().clone(), name.to_string(), self.resets.0.clone());
        tokio::spawn(async move {
            let message = match locks.reset(name.as_str()).await {
                Ok(0) => format!("{} was free already", plain(&name)),
                Ok(nodes) => format!("{} was taken from its holder, on {nodes} nodes", plain(&name)),
                Err(error) => error.to_string(),
            };
            // Nobody looks any more.
            let _ = told.send(message);
        });
    }
}

/// The letter under which a column sorts.
fn sort_of(letter: char) -> Option<Sort> {
    Some(match letter {
        'n' => Sort::Name,
        'h' => Sort::Holder,
        'a' => Sort::Age,
        'l' => Sort::Left,
        'w' => Sort::Waiting,
        's' => Sort::State,
        _ => return None,
    })
}
