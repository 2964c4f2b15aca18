//! Drawing the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as TextLine, Span};
use ratatui::widgets::{Block, Paragraph};

use super::input::columns;
use super::state::{Line, Mark, Row, State};
use crate::people::shortened;

/// The list of conversations takes so many columns, on screens that are wide enough.
const LIST_COLUMNS: u16 = 24;

/// Screens narrower than this show messages only.
const WIDE_COLUMNS: u16 = 60;

/// What keys do, while there is nothing else to say.
const KEYS: &str = "Enter send · ↑↓ conversation · PgUp/PgDn scroll · /help · Esc quit";

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let [body, input, status] =
        Layout::vertical([Constraint::Min(3), Constraint::Length(3), Constraint::Length(1)])
            .areas(frame.area());
    if body.width >= WIDE_COLUMNS {
        let [list, messages] =
            Layout::horizontal([Constraint::Length(LIST_COLUMNS), Constraint::Min(1)]).areas(body);
        draw_list(frame, list, state);
        draw_messages(frame, messages, state);
    } else {
        draw_messages(frame, body, state);
    }
    draw_input(frame, input, state);
    draw_status(frame, status, state);
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let block = Block::bordered().title("Conversations");
    let inner = block.inner(area);
    let selected = state.selected().map(|row| row.id);
    let rows: Vec<_> = state
        .rows
        .iter()
        .map(|row| list_line(row, Some(row.id) == selected, usize::from(inner.width)))
        .collect();
    let at = state.rows.iter().position(|row| Some(row.id) == selected).unwrap_or(0);
    let first = (at + 1).saturating_sub(usize::from(inner.height));
    let shown: Vec<_> = rows.into_iter().skip(first).collect();
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

fn list_line(row: &Row, is_selected: bool, width: usize) -> TextLine<'static> {
    let note = match (row.unread, row.remark) {
        (0, None) => String::new(),
        (0, Some(remark)) => format!(" {remark}"),
        (unread, _) => format!(" ({unread})"),
    };
    let room = width.saturating_sub(2 + note.chars().count());
    let marker = if is_selected { "▸ " } else { "  " };
    let style = match (is_selected, row.unread > 0) {
        (true, _) => Style::new().add_modifier(Modifier::REVERSED),
        (false, true) => Style::new().add_modifier(Modifier::BOLD),
        (false, false) => Style::new(),
    };
    TextLine::styled(format!("{marker}{}{note}", clipped(&row.title, room)), style)
}

fn draw_messages(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let title = state.selected().map_or_else(|| "No conversation".into(), |row| row.title.clone());
    let block = Block::bordered().title(clipped(&title, usize::from(area.width.saturating_sub(4))));
    let inner = block.inner(area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let wrapped: Vec<_> = state.lines.iter().flat_map(|line| message_lines(line, width)).collect();
    let last = wrapped.len().saturating_sub(state.scroll.min(wrapped.len().saturating_sub(height)));
    let first = last.saturating_sub(height);
    let mut shown: Vec<_> = wrapped.into_iter().take(last).skip(first).collect();
    if state.rows.is_empty() {
        shown = welcome(&state.own, width);
    }
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

/// What a new user sees.
fn welcome(own: &str, width: usize) -> Vec<TextLine<'static>> {
    let text = format!(
        "Nobody has written yet. Give somebody your address, {own}, or type /dm and \
         theirs to begin."
    );
    wrap(&text, width).into_iter().map(TextLine::raw).collect()
}

/// A message in as many lines as it takes.
fn message_lines(line: &Line, width: usize) -> Vec<TextLine<'static>> {
    let color = if line.is_own { Color::Cyan } else { Color::Green };
    let (mark, mark_color) = match &line.mark {
        Mark::None => (String::new(), Color::Reset),
        Mark::Waits => (" ○ waits".into(), Color::Yellow),
        Mark::Sending => (" ◌ sending".into(), Color::Yellow),
        Mark::Sent => (" ✓".into(), Color::DarkGray),
        Mark::Failed(reason) => (format!(" ✗ not sent: {reason}"), Color::Red),
    };
    let head = format!("{} {}: ", line.time, line.who);
    let text = format!("{head}{}{mark}", line.text);
    let mut wrapped = wrap(&text, width).into_iter();
    let Some(first) = wrapped.next() else { return Vec::new() };
    let (head_end, body) =
        (head.len().min(first.len()), first.get(head.len()..).unwrap_or_default());
    let head = first.get(..head_end).unwrap_or_default().to_owned();
    let head = Span::styled(head, Style::new().fg(color));
    let mut lines = vec![TextLine::from(vec![head, Span::raw(body.to_owned())])];
    lines.extend(wrapped.map(TextLine::raw));
    if let Some(last) = lines.last_mut() {
        color_mark(last, mark.trim_start(), mark_color);
    }
    lines
}

/// Colours the mark at the end of a line.
fn color_mark(line: &mut TextLine<'static>, mark: &str, color: Color) {
    let Some(last) = line.spans.pop() else { return };
    match last.content.strip_suffix(mark).filter(|_| !mark.is_empty()) {
        Some(text) => {
            line.spans.push(Span::styled(text.to_owned(), last.style));
            line.spans.push(Span::styled(mark.to_owned(), Style::new().fg(color)));
        }
        None => line.spans.push(last),
    }
}

fn draw_input(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let block = Block::bordered().title("Message");
    let inner = block.inner(area);
    let (text, column) = state.input.window(usize::from(inner.width));
    frame.render_widget(Paragraph::new(text).block(block), area);
    let column = u16::try_from(column).unwrap_or(0).min(inner.width.saturating_sub(1));
    frame.set_cursor_position(Position::new(inner.x + column, inner.y));
}

fn draw_status(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let width = usize::from(area.width);
    let connection = match &state.connection {
        Some(node) => format!(" {} · connected to {node} ", shortened(&state.own)),
        None => format!(" {} · connecting ", shortened(&state.own)),
    };
    let text = match &state.notice {
        Some(notice) => format!(" {notice}"),
        None => format!("{connection}· {KEYS}"),
    };
    let style = Style::new().add_modifier(Modifier::REVERSED);
    let line = format!("{:<width$}", clipped(&text, width));
    frame.render_widget(Paragraph::new(line).style(style), area);
}

/// As much of a text as fits, with an ellipsis where it is cut.
fn clipped(text: &str, width: usize) -> String {
    let total: usize = text.chars().map(columns).sum();
    if total <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let mut fitting: String = text
        .chars()
        .take_while(|character| {
            used += columns(*character);
            used <= width
        })
        .collect();
    fitting.push('…');
    fitting
}

/// A text in lines of at most `width` columns, broken at blanks where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(' ') {
        let wide: usize = word.trim_end().chars().map(columns).sum();
        if used + wide > width && used > 0 {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            used = 0;
        }
        for character in word.chars() {
            let wide = columns(character);
            if used + wide > width {
                if character == ' ' {
                    continue;
                }
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used += wide;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use tidings_client::ConversationId;

    use super::*;

    fn screen(state: &State, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let buffer = terminal.backend().buffer();
        let cells = buffer.content.chunks(usize::from(columns));
        let lines = cells.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn talk() -> State {
        let id = ConversationId([1; 32]);
        let row = Row { id, title: "bob".into(), remark: None, is_active: true, unread: 0 };
        let line = |who: &str, text: &str, mark| Line {
            time: "10:01".into(),
            who: who.into(),
            is_own: who == "you",
            text: text.into(),
            mark,
        };
        let lines = vec![
            line("bob", "good morning", Mark::None),
            line("you", "and to you", Mark::Sent),
            line("you", "are you there?", Mark::Waits),
        ];
        let mut state = State { rows: vec![row], own: "0x12…34".into(), ..State::default() };
        state.select(id);
        state.lines = lines;
        state.connection = Some("node-1".into());
        state
    }

    #[test]
    fn a_conversation_fits_80_by_24() {
        let screen = screen(&talk(), 80, 24);
        for expected in [
            "Conversations",
            "▸ bob",
            "10:01 bob: good morning",
            "and to you ✓",
            "○ waits",
            "node-1",
        ] {
            assert!(screen.contains(expected), "{expected} is not in\n{screen}");
        }
    }

    #[test]
    fn a_narrow_screen_shows_messages_only() {
        let screen = screen(&talk(), 40, 10);
        assert!(!screen.contains("Conversations") && screen.contains("good morning"), "{screen}");
    }

    #[test]
    fn any_size_is_drawn() {
        for (columns, rows) in [(1, 1), (2, 2), (10, 3), (200, 5), (61, 60)] {
            screen(&talk(), columns, rows);
            screen(&State::default(), columns, rows);
        }
    }

    #[test]
    fn long_words_and_wide_characters_are_wrapped() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn scrolling_shows_older_messages() {
        let mut state = talk();
        let line = state.lines[0].clone();
        state.lines =
            (0..100).map(|n| Line { text: format!("number {n}"), ..line.clone() }).collect();
        assert!(screen(&state, 80, 24).contains("number 99"));
        state.scroll = 1_000;
        let top = screen(&state, 80, 24);
        assert!(top.contains("number 0 ") && !top.contains("number 99"), "{top}");
    }
}
