//! Finds and reads skills: folders with a `SKILL.md`, as Claude Code has them. It reads nothing outside such a folder, follows no link
//! within it, and runs nothing that lies there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use abide_llm::Skill;

use super::agent_file::AgentDef;
use super::discover::{Env, read_text};
use super::error::{ConfigError, Place, nearest};
use super::front_matter;
use super::node::Value;

/// The file that makes a folder a skill.
const MAIN: &str = "SKILL.md";
/// The largest further file that is kept, in bytes.
const MOST_FILE: u64 = 256 * 1024;
/// The most bytes of all texts of a skill: each run carries them.
const MOST_SKILL: usize = 2 * 1024 * 1024;
/// The most further files of a skill.
const MOST_FILES: usize = 200;
/// How deep its folders may lie.
const DEPTH: usize = 4;

/// The folders in which skills lie, the first wins.
fn folders(root: &Path, env: &Env) -> Vec<PathBuf> {
    let project = [".abide", ".claude"].map(|dir| root.join(dir).join("skills"));
    project.into_iter().chain(env.user_dir().map(|dir| dir.join("skills"))).collect()
}

/// The skills that an agent's file names, with all their texts. One that is nowhere is an error that says where it was looked for.
pub(super) fn of_agent(root: &Path, env: &Env, agent: &AgentDef) -> Result<Vec<Skill>, ConfigError> {
    let mut found: Vec<Skill> = Vec::new();
    for name in &agent.skills {
        let is_name = !name.starts_with('.') && !name.contains(['/', '\\', ':']);
        let folder = folders(root, env).into_iter().map(|dir| dir.join(name)).find(|dir| dir.join(MAIN).is_file());
        let Some(folder) = folder.filter(|_| is_name) else { return Err(missing(root, env, agent, name)) };
        let skill = read(&folder, env)?;
        if !found.iter().any(|known| known.name == skill.name) {
            found.push(skill);
        }
    }
    Ok(found)
}

/// Reads the skill in this folder.
fn read(folder: &Path, env: &Env) -> Result<Skill, ConfigError> {
    let path = folder.join(MAIN);
    let text = read_text(&path)?;
    let file = Place::file(&path, env.origin_of(&path));
    let (front, body) = front_matter::split(&text, &file)?;
    let front = front.unwrap_or_default();
    let word = |key: &str| match front.get(key) {
        None => Ok(None),
        Some(node) => match &node.value {
            Value::Str(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Value::Null => Ok(None),
            other => Err(node.wrong(key, "text", other.kind(), "description: Reviews code by our rules")),
        },
    };
    let of_folder = || folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let first = || body.lines().map(|line| line.trim_start_matches('#').trim()).find(|line| !line.is_empty());
    let mut skill = Skill {
        name: word("name")?.unwrap_or_else(of_folder),
        description: word("description")?.or_else(|| first().map(str::to_owned)).unwrap_or_default(),
        body: body.trim().to_owned(),
        ..Skill::default()
    };
    if skill.body.is_empty() {
        let help = "write below the front matter what is to be done";
        return Err(ConfigError::invalid(&file, format!("the skill `{}` says nothing", skill.name), help));
    }
    further(folder, &mut skill)?;
    let bytes = skill.body.len() + skill.files.values().map(String::len).sum::<usize>();
    if bytes > MOST_SKILL || skill.files.len() > MOST_FILES {
        return Err(ConfigError::invalid(
            &file,
            format!(
                "the skill `{}` is too large to be kept with every run: {} files, {} KiB",
                skill.name,
                skill.files.len(),
                bytes / 1024
            ),
            format!(
                "keep it within {MOST_FILES} files and {} KiB, and let a tool read what is larger",
                MOST_SKILL / 1024
            ),
        ));
    }
    Ok(skill)
}

/// The other texts of the folder, and what else lies there.
fn further(folder: &Path, skill: &mut Skill) -> Result<(), ConfigError> {
    let mut open = vec![(folder.to_path_buf(), String::new(), 0)];
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    while let Some((dir, within, depth)) = open.pop() {
        let unreadable = |e: std::io::Error| ConfigError::Unreadable { path: dir.clone(), problem: e.to_string() };
        for entry in std::fs::read_dir(&dir).map_err(unreadable)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(unreadable)?;
            let label = format!("{within}{name}");
            if name.starts_with('.') || label == MAIN {
                continue;
            }
            if kind.is_dir() && depth < DEPTH {
                open.push((entry.path(), format!("{label}/"), depth + 1));
                continue;
            }
            let short = kind.is_file() && entry.metadata().is_ok_and(|meta| meta.len() <= MOST_FILE);
            match short.then(|| read_text(&entry.path()).ok()).flatten().filter(|text| !text.contains('\0')) {
                Some(text) if files.len() <= MOST_FILES => drop(files.insert(label, text)),
                _ if skill.left_out.len() < MOST_FILES => skill.left_out.push(label),
                _ => {}
            }
        }
    }
    skill.left_out.sort();
    skill.files = files;
    Ok(())
}

fn missing(root: &Path, env: &Env, agent: &AgentDef, name: &str) -> ConfigError {
    let looked = folders(root, env);
    let mut there: Vec<String> = Vec::new();
    for entry in looked.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
        if entry.path().join(MAIN).is_file() {
            there.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    there.sort();
    there.dedup();
    let near = nearest(name, there.iter().map(String::as_str));
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let all =
        if there.is_empty() { "there are none yet".to_owned() } else { format!("there are: {}", there.join(", ")) };
    let looked: Vec<String> = looked.iter().map(|dir| dir.join(name).join(MAIN).display().to_string()).collect();
    ConfigError::Unresolved {
        problem: format!("{}: the agent `{}` has no skill `{name}`", agent.path.display(), agent.name),
        help: format!("{near}{all}; looked for {}", looked.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::fs;

    use super::super::error::Origin;
    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn with(files: &[(&str, &str)]) -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = home.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            home
        }

        fn of(&self, skills: &str) -> Result<Vec<Skill>, ConfigError> {
            let root = self.0.path().join("p");
            let vars = [("ABIDE_CONFIG_DIR".to_owned(), self.0.path().join("u").to_string_lossy().into_owned())].into();
            let env = Env { cwd: root.clone(), vars, config_base: None };
            let text = format!("---\nname: a\nskills: [{skills}]\n---\nDo it.");
            let agent = AgentDef::parse(&text, &root.join("a.md"), &root, Origin::Project).unwrap();
            of_agent(&root, &env, &agent)
        }
    }

    const REVIEW: &str = "---\nname: review\ndescription: Reviews code\nallowed-tools: Read\n---\n# How\nLook twice.\n";

    #[test]
    fn the_first_folder_wins_and_everything_in_it_is_read() {
        let home = Home::with(&[
            ("u/skills/review/SKILL.md", "---\nname: users\n---\nx"),
            ("p/.claude/skills/review/SKILL.md", REVIEW),
            ("p/.claude/skills/review/ref/list.md", "- names"),
            ("p/.claude/skills/review/.hidden", "x"),
            ("p/.claude/skills/review/logo.png", "\u{0}PNG"),
            ("p/.claude/skills/review/SKILL.md.orig", "old"),
            ("p/.abide/skills/review/other.md", "a folder without SKILL.md is no skill"),
            ("u/skills/plain/SKILL.md", "# Speak plainly\nNo big words."),
        ]);
        fs::write(home.0.path().join("p/.claude/skills/review/big.txt"), "x".repeat(300 * 1024)).unwrap();
        let skills = home.of("review, plain, review").unwrap();
        assert_eq!(skills.len(), 2, "named twice, there once");
        let review = &skills[0];
        assert_eq!((review.name.as_str(), review.description.as_str()), ("review", "Reviews code"));
        assert_eq!(review.body, "# How\nLook twice.");
        let files: Vec<&str> = review.files.keys().map(String::as_str).collect();
        assert_eq!(
            (files, &review.left_out),
            (vec!["SKILL.md.orig", "ref/list.md"], &vec!["big.txt".to_owned(), "logo.png".to_owned()])
        );
        assert_eq!((skills[1].name.as_str(), skills[1].description.as_str()), ("plain", "Speak plainly"));
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        let large = "x".repeat(200 * 1024);
        let mut files = vec![
            ("p/.abide/skills/review/SKILL.md".to_owned(), REVIEW.to_owned()),
            ("p/.abide/skills/empty/SKILL.md".to_owned(), "---\nname: e\n---\n \n".to_owned()),
            ("p/.abide/skills/odd/SKILL.md".to_owned(), "---\ndescription: [a]\n---\nx".to_owned()),
            ("p/.abide/skills/large/SKILL.md".to_owned(), "x".to_owned()),
        ];
        files.extend((0..11).map(|n| (format!("p/.abide/skills/large/{n}.txt"), large.clone())));
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let home = Home::with(&files);
        for (skills, problem, help) in [
            (
                "reviw",
                "the agent `a` has no skill `reviw`",
                "did you mean `review`? there are: empty, large, odd, review; looked for ",
            ),
            ("../review", "no skill `../review`", "looked for"),
            ("empty", "the skill `e` says nothing", "below the front matter"),
            ("odd", "`description` must be text", "description:"),
            ("large", "too large to be kept with every run: 11 files, 2200 KiB", "2048 KiB"),
        ] {
            let error = home.of(skills).unwrap_err();
            assert!(error.to_string().contains(problem) && error.help().contains(help), "{error}\n{}", error.help());
        }
        let help = home.of("reviw").unwrap_err().help();
        for place in [".abide", ".claude"] {
            assert!(
                help.contains(&Path::new(place).join("skills").join("reviw").join("SKILL.md").display().to_string()),
                "{help}"
            );
        }
    }
}
