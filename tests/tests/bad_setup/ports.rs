//! Addresses that somebody else has, or that this machine has not.

use anyhow::Context as _;
use hub_tests::setup::Scene;

#[tokio::test]
async fn an_address_that_is_not_to_be_had_is_named_with_its_setting() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let key = scene.make_hub_files(&[]).await?;
    let held = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = held.local_addr()?.to_string();
    for (variable, setting) in [
        ("AUTH_HUB__HTTP__LISTEN", "http.listen"),
        ("AUTH_HUB__MQTT__LISTEN", "mqtt.listen"),
        ("AUTH_HUB__ADMIN__LISTEN", "admin.listen"),
    ] {
        let words = [setting, &*taken, "in use", "set another port"];
        scene.hub(&[(variable, &taken)]).await?.failed(1, &words).context(setting)?;
    }
    let server = |variable, value| {
        let env = [("GAME_SERVER__HUB__KEY", key.clone()), (variable, value)];
        let scene = &scene;
        async move {
            let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
            scene.run("game-server", &[], &env).await
        }
    };
    for (variable, setting) in
        [("GAME_SERVER__GAME__LISTEN", "game.listen"), ("GAME_SERVER__METRICS__LISTEN", "metrics.listen")]
    {
        let words = [setting, &*taken, "in use", "set another port"];
        server(variable, taken.clone()).await?.failed(1, &words).context(setting)?;
    }
    Ok(())
}
