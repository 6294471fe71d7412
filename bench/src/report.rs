//! Tables, on the standard output and in `RESULTS.md`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};

/// A table in Markdown.
pub(crate) fn table(titles: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(titles);
    table.add_rows(rows);
    table.to_string()
}

/// Says how far it is, on the standard error.
#[expect(clippy::print_stderr, reason = "this is a program for people who wait for it")]
pub(crate) fn progress(text: &str) {
    eprintln!("{text}");
}

/// Prints a section, and writes it into a file in place of what it said before: between the lines
/// `<!-- begin NAME -->` and `<!-- end NAME -->`.
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
pub(crate) fn publish(file: &Path, name: &str, section: &str) -> Result<()> {
    println!("{section}");
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let replaced =
        replace(&text, name, section).with_context(|| format!("{} has no section {name}", file.display()))?;
    fs::write(file, replaced).with_context(|| format!("write {}", file.display()))
}

fn replace(text: &str, name: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(&format!("<!-- begin {name} -->\n"))?;
    let end = format!("<!-- end {name} -->");
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}<!-- begin {name} -->\n{}\n{end}{after}", section.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_the_one_before_and_nothing_else() {
        let text = "# Results\n<!-- begin a -->\nold\n<!-- end a -->\nnotes\n<!-- begin b -->\n<!-- end b -->\n";
        let replaced = replace(text, "a", "\nnew\n").unwrap();
        assert_eq!(
            replaced,
            "# Results\n<!-- begin a -->\nnew\n<!-- end a -->\nnotes\n<!-- begin b -->\n<!-- end b -->\n"
        );
        assert_eq!(replace(text, "c", "new"), None);
    }
}
