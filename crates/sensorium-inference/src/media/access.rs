//! Where a URI points to, and whether the session may read there.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use url::Url;

use crate::error::{Error, Kind, Result};
use crate::modality::split_page;

/// The places a call may read media from.
#[derive(Debug, Clone, Default)]
pub struct MediaAccess {
    /// For each input, the folder or URL of its table, which relative paths are resolved against; the current folder
    /// where there is none.
    pub bases: BTreeMap<String, String>,
    /// Folders and URL prefixes that may be read, besides `bases` and the current folder.
    pub allowed_roots: Vec<String>,
}

/// A place that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Local(PathBuf),
    Remote(Url),
}

impl MediaAccess {
    /// Resolves `uri` of `input` and refuses what lies outside the roots. Symbolic links are followed before the check.
    pub(crate) fn locate(&self, input: &str, uri: &str) -> Result<Place> {
        let base = self.bases.get(input).map(String::as_str);
        let (uri, _) = split_page(uri);
        match absolute(uri, base)? {
            Place::Local(path) => self.allow_local(uri, &path, base),
            Place::Remote(url) => self.allow_remote(uri, url, base),
        }
    }

    fn allow_local(&self, uri: &str, path: &Path, base: Option<&str>) -> Result<Place> {
        let own = base.into_iter().chain(["."]);
        let roots = own.chain(self.allowed_roots.iter().map(String::as_str)).filter_map(|root| match absolute_root(root) {
            Some(Place::Local(folder)) => Some(folder),
            _ => None,
        });
        // A missing file is reported as missing only where the session may look.
        let real = path.canonicalize().unwrap_or_else(|_| lexical(path));
        if roots.into_iter().any(|root| real.starts_with(root)) {
            return Ok(Place::Local(real));
        }
        let folder = real.parent().unwrap_or(&real);
        Err(forbidden(uri, &folder.to_string_lossy()))
    }

    fn allow_remote(&self, uri: &str, url: Url, base: Option<&str>) -> Result<Place> {
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::new(Kind::Fetch, format!("URIs with a query or fragment are not supported: {uri}"))
                .with_hint("copy the file to an object store, or name it without the part behind '?' or '#'"));
        }
        let mut roots = base.into_iter().chain(self.allowed_roots.iter().map(String::as_str));
        let inside = |root: &str| matches!(absolute_root(root), Some(Place::Remote(root)) if below(&root, &url));
        if roots.any(inside) {
            return Ok(Place::Remote(url));
        }
        Err(forbidden(uri, &url[..url::Position::BeforePath]))
    }
}

/// Resolves a folder to write to, which need not be there, and refuses what lies outside `roots`. Symbolic links are followed.
pub(super) fn locate_folder(prefix: &str, roots: &[String]) -> Result<Place> {
    let place = match absolute(prefix, None)? {
        Place::Remote(url) if url.query().is_some() || url.fragment().is_some() => {
            return Err(malformed(prefix, &"a query or a fragment"));
        }
        Place::Remote(url) => Place::Remote(url),
        Place::Local(path) => {
            let path = lexical(&path);
            let known = path.ancestors().find(|above| above.exists()).unwrap_or(&path);
            let real = known.canonicalize().map_err(|error| malformed(prefix, &error))?;
            Place::Local(real.join(path.strip_prefix(known).unwrap_or(Path::new(""))))
        }
    };
    let is_below = |root: &String| match (absolute_root(root), &place) {
        (Some(Place::Local(root)), Place::Local(folder)) => folder.starts_with(root),
        (Some(Place::Remote(root)), Place::Remote(url)) => below(&root, url),
        _ => false,
    };
    if roots.iter().any(is_below) {
        return Ok(place);
    }
    Err(Error::new(Kind::Forbidden, format!("nothing may be written to {prefix}")).with_hint(format!("SET mm.write_roots = '{prefix}'")))
}

fn absolute(uri: &str, base: Option<&str>) -> Result<Place> {
    if uri.trim().is_empty() {
        return Err(Error::new(Kind::Fetch, "empty URI").with_hint("pass NULL where there is no picture"));
    }
    if uri.contains("://") {
        return parse(uri);
    }
    match base {
        _ if Path::new(uri).is_absolute() => Ok(Place::Local(PathBuf::from(uri))),
        Some(base) if base.contains("://") => match parse(base)? {
            Place::Local(folder) => Ok(Place::Local(folder.join(uri))),
            Place::Remote(url) => url.join(uri).map(Place::Remote).map_err(|error| malformed(uri, &error)),
        },
        base => Ok(Place::Local(Path::new(base.unwrap_or("")).join(uri))),
    }
}

fn malformed(uri: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Fetch, format!("malformed URI: {uri}: {error}"))
}

fn forbidden(uri: &str, root: &str) -> Error {
    Error::new(Kind::Forbidden, format!("outside the allowed roots: {uri}")).with_hint(format!("SET mm.allowed_roots = '{root}'"))
}

fn parse(uri: &str) -> Result<Place> {
    let url = Url::parse(uri).map_err(|error| malformed(uri, &error))?;
    if url.scheme() != "file" {
        return Ok(Place::Remote(url));
    }
    url.to_file_path().map(Place::Local).map_err(|()| malformed(uri, &"not a path of this machine"))
}

fn absolute_root(root: &str) -> Option<Place> {
    let place = if root.contains("://") { parse(root).ok()? } else { Place::Local(PathBuf::from(root)) };
    match place {
        Place::Local(folder) => folder.canonicalize().ok().map(Place::Local),
        remote => Some(remote),
    }
}

/// Whether `url` is `root` or lies below it, whole path segments compared.
fn below(root: &Url, url: &Url) -> bool {
    let same = root.scheme() == url.scheme() && root.authority() == url.authority();
    let folder = root.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(folder);
    same && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `path` made absolute with `.` and `..` taken out, without looking at the disk.
fn lexical(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.components().fold(PathBuf::new(), |mut clean, part| {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
        clean
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_covers_whole_segments_only() {
        let root = Url::parse("https://host/a/b").expect("a URL");
        for (url, inside) in [
            ("https://host/a/b/c.jpg", true),
            ("https://host/a/bc.jpg", false),
            ("https://host/a/b/../c.jpg", false),
            ("http://host/a/b/c.jpg", false),
        ] {
            assert_eq!(below(&root, &Url::parse(url).expect("a URL")), inside, "{url}");
        }
    }
}
