//! Locations: Hadoop paths as URLs.

use maru_connect::literal_url;
use maru_core::{Error, Result};
use url::Url;

/// Turns a location into the URL that names the same place.
///
/// Hadoop takes the text after the authority literally: the directory `region=a%2Fb` is written so, and a blank is a
/// blank, as [`literal_url`] has it. `s3a` and `s3n` are names of Hadoop's
/// drivers for S3.
///
/// # Errors
/// 0A000 for a location without a scheme, since only Hadoop's own configuration says what it is relative to.
pub(crate) fn url(location: &str) -> Result<Url> {
    let unreadable =
        |why: &str| Error::unsupported(format!("location \"{location}\" cannot be read: {why}"));
    let (scheme, rest) =
        location.split_once(':').ok_or_else(|| unreadable("it has no scheme such as hdfs://"))?;
    if rest.starts_with("//") && !rest.starts_with("///") && rest.len() == 2 {
        return Err(unreadable("it names no host"));
    }
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "s3a" | "s3n" => "s3".to_owned(),
        other => other.to_owned(),
    };
    literal_url(&format!("{scheme}:{rest}")).map_err(|error| unreadable(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_path_literal() {
        let table = [
            (
                "hdfs://nn:9000/w/t/region=a b%2Fc%3Dd",
                "hdfs://nn:9000/w/t/region=a%20b%252Fc%253Dd",
            ),
            ("s3a://bucket/dir/x#1?y", "s3://bucket/dir/x%231%3Fy"),
            ("s3n://bucket/dir", "s3://bucket/dir"),
            ("file:/tmp/t", "file:///tmp/t"),
            ("HDFS://NN/t", "hdfs://NN/t"),
        ];
        for (location, wanted) in table {
            assert_eq!(url(location).unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn refuses_a_relative_location() {
        assert_eq!(url("/user/hive/t").unwrap_err().sqlstate(), "0A000");
    }
}
