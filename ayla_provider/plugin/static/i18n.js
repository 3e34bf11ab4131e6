// The page's texts, in the language of Airflow's UI if the page has it, else in English.

import de from "./locales/de.js";
import en from "./locales/en.js";
import es from "./locales/es.js";
import zhCN from "./locales/zh-CN.js";

/** The texts of each language by their keys. A text that depends on a number is an object, with a text for each form. */
export const LOCALES = { en, de, es, "zh-CN": zhCN };

/** How dates are written. The dates of plain "en" would be American. */
const DATES = { en: "en-GB" };

const PLACEHOLDER = /\{(\w+)\}/g;

let language = "en";
let plural = new Intl.PluralRules(language);
let number = new Intl.NumberFormat(language);

/** Return the page's language for a language tag, such as "de-AT". */
export function languageOf(tag) {
  const names = Object.keys(LOCALES);
  const exact = names.find((name) => name.toLowerCase() === String(tag).toLowerCase());
  // Traditional Chinese, "zh-TW", is another script.
  return exact ?? names.find((name) => name === String(tag).split("-")[0]) ?? (/^zh(-Hans|-SG)?$/i.test(tag) ? "zh-CN" : "en");
}

/** Use a language for all texts from now on. */
export function applyLanguage(name) {
  language = name;
  plural = new Intl.PluralRules(name);
  number = new Intl.NumberFormat(name);
}

/** Return the language, for formats of numbers and dates. */
export const numberLanguage = () => language;
export const dateLanguage = () => DATES[language] ?? language;

/**
 * Return a text.
 *
 * @param {string} key
 * @param {object} [values] the values of its placeholders; `count` also chooses the form of a text with several
 */
export function t(key, values = {}) {
  return messageOf(key, values).replace(PLACEHOLDER, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number.format(value) : value;
  });
}

/** Return a text as a list of its parts, with elements in the place of its placeholders. */
export function parts(key, elements) {
  // The odd ones are the names of the placeholders.
  return messageOf(key, elements).split(PLACEHOLDER).map((part, index) => (index % 2 ? elements[part] : part));
}

function messageOf(key, values) {
  const message = LOCALES[language][key] ?? en[key];
  if (message === undefined) throw new Error(`The page has no text "${key}".`);
  return typeof message === "string" ? message : message[plural.select(values.count)] ?? message.other;
}
