//! How far a change is, while it is waited for: on the standard error, redrawn in place on a terminal, a line for each
//! step elsewhere.

use std::io::{self, IsTerminal, Write};

use switchyard_proto::v1::ProgressState;

use super::Edges;
use crate::output::{clean, note, took};

/// Edges that are drawn at a time; the rest is counted. Fits the smallest terminal.
const EDGES_DRAWN_MAX: usize = 10;

/// Shows how far the edges are.
#[derive(Debug)]
pub(crate) struct Progress {
    revision: u64,
    surface: Surface,
}

#[derive(Debug)]
enum Surface {
    /// Holds the number of lines drawn last.
    Terminal(usize),
    Lines,
}

impl Progress {
    /// Shows how far the edges are with `revision`.
    pub(crate) fn new(revision: u64) -> Self {
        let surface = if io::stderr().is_terminal() { Surface::Terminal(0) } else { Surface::Lines };
        Self { revision, surface }
    }

    /// Shows how far the edges are now; `changed` are the ids of those whose state is another than before.
    pub(crate) fn show(&mut self, edges: &Edges, changed: &[String]) {
        match &mut self.surface {
            Surface::Terminal(drawn) => {
                let lines = drawing(self.revision, edges);
                let mut stderr = io::stderr().lock();
                // If the terminal is gone, nobody looks.
                let _ = write!(
                    stderr,
                    "{}{}",
                    erasure(*drawn),
                    lines.iter().map(|line| format!("{line}\n")).collect::<String>()
                );
                *drawn = lines.len();
            }
            Surface::Lines => {
                for id in changed {
                    if let Some(edge) = edges.get(id) {
                        note(&format!("{}: {} after {}", clean(id), edge.word(), took(edge.since)));
                    }
                }
            }
        }
    }

    /// Takes away what is drawn, to make place for the report.
    pub(crate) fn clear(&mut self) {
        if let Surface::Terminal(drawn) = &mut self.surface {
            let _ = write!(io::stderr().lock(), "{}", erasure(*drawn));
            *drawn = 0;
        }
    }
}

/// What moves the cursor up by `lines` and erases everything from there (ECMA-48: CUU, ED).
fn erasure(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\x1b[J") }
}

/// A line that sums up, then the edges that are waited for, those that stand out first.
fn drawing(revision: u64, edges: &Edges) -> Vec<String> {
    let (live, required) = edges.live_of_required();
    let mut lines = vec![format!("revision {revision}: live on {live} of {required} edges")];
    let mut waiting: Vec<_> = edges.iter().filter(|(_, edge)| edge.state != ProgressState::Live).collect();
    waiting.sort_by_key(|(_, edge)| match edge.state {
        ProgressState::Rejected | ProgressState::Gone => 0,
        ProgressState::Pending | ProgressState::Unspecified | ProgressState::Live => 1,
        ProgressState::Offline => 2,
    });
    lines.extend(waiting.iter().take(EDGES_DRAWN_MAX).map(|(id, edge)| format!("  {} {}", edge.word(), clean(id))));
    if waiting.len() > EDGES_DRAWN_MAX {
        lines.push(format!("  and {} more", waiting.len() - EDGES_DRAWN_MAX));
    }
    lines
}

#[cfg(test)]
mod tests {
    use switchyard_proto::v1::{EdgeProgress, WatchRevisionResponse};

    use super::*;

    #[test]
    fn the_drawing_is_bounded_and_shows_what_stands_out_first() {
        let state = |n| if n == 50 { ProgressState::Rejected } else { ProgressState::Pending };
        let progress = |n| EdgeProgress {
            edge: format!("edges/e{n:02}"),
            state: state(n).into(),
            required: true,
            ..EdgeProgress::default()
        };
        let response =
            WatchRevisionResponse { edges: (0..60).map(progress).collect(), ..WatchRevisionResponse::default() };
        let mut edges = Edges::default();
        edges.update(response, std::time::Duration::ZERO);
        let lines = drawing(7, &edges);
        assert_eq!(lines[..3], ["revision 7: live on 0 of 60 edges", "  rejected e50", "  pending e00"]);
        assert_eq!((lines.len(), lines[11].as_str()), (12, "  and 50 more"));
        assert_eq!(erasure(12), "\x1b[12A\x1b[J");
    }
}
