//! Rows as aligned columns without borders, as wide as there is place for.

use comfy_table::{ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::clean;

/// Spaces between two columns, and between those of a list, which has less place.
const COLUMN_GAP: u16 = 3;
const LIST_GAP: u16 = 2;
/// The width of a list that is not read in a terminal.
const WIDTH_DEFAULT: u16 = 80;
/// No column is cut to less.
const CUT_WIDTH_MIN: usize = 6;
/// What the other columns leave to a text at the end, which is longer as a rule.
const TEXT_WIDTH: usize = 30;

/// Rows as aligned columns, each cell as long as it is.
pub(crate) fn columns(titles: Option<&[&str]>, rows: Vec<Vec<String>>) -> String {
    aligned(titles, rows, COLUMN_GAP)
}

fn aligned(titles: Option<&[&str]>, rows: Vec<Vec<String>>, gap: u16) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(titles) = titles {
        table.set_header(titles);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, gap));
    }
    table.trim_fmt()
}

/// Rows as aligned columns that fit the terminal, or 80 columns: the widest are cut, but never the first, which names what the next command is
/// about; nor the last, where that is a text that says why.
pub(crate) fn fitted(titles: &[&str], rows: Vec<Vec<String>>, ends_in_text: bool) -> String {
    let width = Table::new().width().unwrap_or(WIDTH_DEFAULT);
    fitted_to(width.into(), titles, rows, ends_in_text)
}

fn fitted_to(width: usize, titles: &[&str], rows: Vec<Vec<String>>, ends_in_text: bool) -> String {
    let mut widths: Vec<usize> = titles.iter().map(|title| title.width()).collect();
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.iter().map(|cell| clean(cell).into_owned()).collect()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    if let Some(last) = widths.last_mut().filter(|_| ends_in_text) {
        *last = (*last).min(TEXT_WIDTH);
    }
    let cut_end = widths.len() - usize::from(ends_in_text && !widths.is_empty());
    let gaps = usize::from(LIST_GAP) * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let Some(widest) = widths[..cut_end].iter_mut().skip(1).max().filter(|widest| **widest > CUT_WIDTH_MIN) else {
            break;
        };
        *widest -= 1;
    }
    if let Some(last) = widths.last_mut().filter(|_| ends_in_text) {
        *last = usize::MAX;
    }
    let titles: Vec<String> = titles.iter().zip(&widths).map(|(title, width)| cut(title, *width)).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let rows = rows.into_iter().map(|row| row.iter().zip(&widths).map(|(cell, width)| cut(cell, *width)).collect());
    aligned(Some(&titles), rows.collect(), LIST_GAP)
}

/// Text of at most this width; an ellipsis stands for what is cut off.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let fits = c.width().unwrap_or(0) <= left;
        left = left.saturating_sub(c.width().unwrap_or(0));
        fits
    };
    let mut start: String = text.chars().take_while(fits).collect();
    start.push('…');
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_aligned_without_borders_and_trailing_spaces() {
        let rows = vec![row(&["a", "1"]), row(&["longer", "2"])];
        assert_eq!(columns(Some(&["NAME", "N"]), rows), "NAME     N\na        1\nlonger   2");
    }

    #[test]
    fn the_widest_columns_are_cut_and_the_first_never() {
        let rows = || vec![row(&["shop.example", "a short one", "a text that is much longer than that", "7"])];
        let titles = ["NAME", "ONE", "TWO", "N"];
        assert_eq!(fitted_to(80, &titles, rows(), false), aligned(Some(&titles), rows(), LIST_GAP));
        let fitted = fitted_to(40, &titles, rows(), false);
        assert_eq!(fitted.lines().nth(1).unwrap(), "shop.example  a short one  a text th…  7", "{fitted}");
        assert!(fitted_to(10, &titles, rows(), false).contains("\nshop.example  a sho…  a tex…  7"));
    }

    #[test]
    fn a_text_at_the_end_is_never_cut() {
        let why = "because of something that takes more than eighty columns to explain, as things do now and then";
        let rows = || vec![row(&["shop.example", "a cell that is rather long", "a short one", why])];
        let fitted = fitted_to(60, &["NAME", "ONE", "TWO", "WHY"], rows(), true);
        assert!(fitted.lines().nth(1).is_some_and(|line| line.ends_with(why) && line.contains('…')), "{fitted}");
    }

    #[test]
    fn wide_characters_count_as_such() {
        assert_eq!([cut("東京都", 6), cut("東京都", 5), cut("東京都", 4)], ["東京都", "東京…", "東…"]);
    }
}
