"""Screenshots of a dashboard, page by page, by a headless Chromium: URL USER PASSWORD ID FOLDER.

Runs with the Python of Superset, which has Selenium. Prints what it has read on each page, as JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1600,1500",
)
_PATIENCE = 120  # seconds for a page


def _browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def _log_in(browser: webdriver.Chrome, url: str, user: str, password: str) -> None:
    browser.get(f"{url}/login/")
    wait = WebDriverWait(browser, _PATIENCE)
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#username, [data-test=username-input]"))
    browser.find_element(By.CSS_SELECTOR, "#username, [data-test=username-input]").send_keys(user)
    field = browser.find_element(By.CSS_SELECTOR, "#password, [data-test=password-input]")
    field.send_keys(password)
    field.submit()
    wait.until(lambda b: "/login" not in b.current_url)


def _is_drawn(browser: webdriver.Chrome) -> bool:
    script = """
        const panes = document.querySelectorAll('.dashboard-component-chart-holder');
        const seen = [...panes].filter(one => one.offsetParent !== null);
        const waits = '.loading, [data-test=loading-indicator]';
        const busy = seen.filter(one => one.querySelector(waits));
        return seen.length > 0 && busy.length === 0;
    """
    return bool(browser.execute_script(script))


def _read(browser: webdriver.Chrome) -> dict[str, object]:
    script = """
        const panes = [...document.querySelectorAll('.dashboard-component-chart-holder')]
            .filter(one => one.offsetParent !== null);
        const title = one => one.querySelector('[data-test=editable-title]');
        return panes.map(one => [title(one) ? title(one).innerText : '', one.innerText.length,
            /error|no results|no data/i.test(one.innerText)]);
    """
    found = browser.execute_script(script)
    return {title: {"letters": letters, "wrong": wrong} for title, letters, wrong in found}


def main(url: str, user: str, password: str, dashboard: str, folder: str) -> None:
    """Take a screenshot of each page."""
    read = {}
    with tempfile.TemporaryDirectory() as profile:
        browser = _browser(profile)
        try:
            _log_in(browser, url, user, password)
            browser.get(f"{url}/superset/dashboard/{dashboard}/")
            wait = WebDriverWait(browser, _PATIENCE)
            tabs = "[role=tab][id*='-tab-TAB-']"
            wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, tabs))
            for number in range(len(browser.find_elements(By.CSS_SELECTOR, tabs))):
                tab = browser.find_elements(By.CSS_SELECTOR, tabs)[number]
                name = tab.text
                tab.click()
                time.sleep(2)  # until it has begun to ask
                wait.until(_is_drawn)
                time.sleep(3)  # for what moves into its place
                browser.save_screenshot(str(Path(folder) / f"superset-{name.lower()}.png"))
                read[name] = _read(browser)
        finally:
            browser.quit()
    print(json.dumps(read))


if __name__ == "__main__":
    main(*sys.argv[1:])
