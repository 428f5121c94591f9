//! The policy of display names, as a client meets it.

use serde_json::json;

use crate::rig::{Expect, Rig, SECRET, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn display_names() {
    let rig = Rig::start().await;
    for (n, (typed, shown)) in [
        (" Ada \u{a0} Lovelace ", Ok("Ada Lovelace")),
        ("Zoe\u{308}", Ok("Zo\u{eb}")),
        ("\u{ff21}da", Ok("Ada")),
        ("\u{2764}\u{fe0f} Ada", Ok("\u{2764} Ada")),
        ("さくらサクラ桜", Ok("さくらサクラ桜")),
        ("", Err("1 to 64")),
        ("   ", Err("1 to 64")),
        (&"x".repeat(65), Err("1 to 64")),
        ("a\u{202e}b", Err("format")),
        ("a\u{200b}b", Err("invisible")),
        ("a\nb", Err("control")),
        ("\u{3164}", Err("invisible")),
        ("p\u{430}ypal", Err("one script")),
        ("\u{301}a", Err("combining marks")),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({ "login": format!("name-{n}"), "password": SECRET, "display_name": typed });
        let mut raw = rig.connect().await;
        raw.say(&post("/auth/register", body.to_string())).await;
        let reply = raw.reply(true).await.unwrap();
        let expect = match shown {
            Ok(shown) => {
                assert_eq!(reply.json()["display_name"], shown, "{typed:?}");
                Expect::Success(201)
            }
            Err(detail) => Expect::Problem(422, "invalid-display-name", detail),
        };
        rig.judge(typed, Some(reply), expect).await;
    }
}
