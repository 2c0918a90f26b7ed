// Slack's own markup, "mrkdwn", as a tree of nodes. Nothing in here knows the
// DOM: draw.js makes elements of nodes, and Node runs the tests.
//
// A node is a string, which is text and never markup again, or an object:
//
//	{type: "bold" | "italic" | "strike" | "code", children}
//	{type: "link", url, children}            url is what safeURL returned
//	{type: "user" | "group", id}
//	{type: "channel", id, label}
//	{type: "broadcast", name}                here, channel, everyone
//	{type: "break"}
//
// and among blocks
//
//	{type: "paragraph" | "quote" | "pre", children}
//
// Tokens such as <!channel> and <https://a|b> are alive everywhere, in code
// too, as they are in Slack: what somebody forgot to escape shows.

// parseMrkdwn returns the blocks of a mrkdwn text. With verbatim, addresses
// that nobody marked as links stay text.
export function parseMrkdwn(text, verbatim = false) {
	const blocks = [];
	// split puts what the group has caught, the insides of fences, at odd places.
	text.split(/```\n?([^]+?)\n?```/).forEach((part, i) => {
		if (i % 2) {
			blocks.push({type: 'pre', children: tokensOnly(part, decode)});
		} else if (part.trim()) {
			blocks.push(...paragraphs(part.replace(/^\n|\n$/g, ''), verbatim));
		}
	});
	return blocks;
}

// paragraphs tells quoted lines from the others. People's > arrives as &gt;.
function paragraphs(text, verbatim) {
	const blocks = [];
	for (const line of text.split('\n')) {
		const quoted = /^(?:>|&gt;) ?/.exec(line);
		const type = quoted ? 'quote' : 'paragraph';
		if (blocks.at(-1)?.type !== type) {
			blocks.push({type, children: []});
		}
		const {children} = blocks.at(-1);
		if (children.length) {
			children.push({type: 'break'});
		}
		children.push(...spans(line.slice(quoted?.[0].length ?? 0), verbatim));
	}
	return blocks;
}

const marks = {'*': 'bold', '_': 'italic', '~': 'strike'};
const deepest = 8; // spans within spans; whatever is deeper stays text

// spans parses what is in one line.
function spans(line, verbatim, depth = 0) {
	const nodes = [];
	const hopeless = new Set(); // marks that nothing closes from here on
	let text = '';
	let at = 0;
	const flush = () => {
		if (text) {
			nodes.push(decode(text));
		}
		text = '';
	};
	const add = (node, length) => {
		flush();
		nodes.push(node);
		at += length;
	};
	while (at < line.length) {
		const c = line[at];
		const token = c === '<' && readToken(line, at, decode);
		if (token) {
			add(token.node, token.length);
			continue;
		}
		const end = (c === '`' || c in marks) && depth < deepest && !hopeless.has(c) && opens(line, at) ? closing(line, at) : -1;
		if (end > 0) {
			const inside = line.slice(at + 1, end);
			const children = c === '`' ? tokensOnly(inside, decode) : spans(inside, verbatim, depth + 1);
			add({type: marks[c] ?? 'code', children}, inside.length + 2);
			continue;
		}
		const bare = !verbatim && bareLink(line, at);
		if (bare) {
			add({type: 'link', url: safeURL(decode(bare)), children: [decode(bare)]}, bare.length);
			continue;
		}
		const picture = c === ':' && emojiAt(line, at);
		if (picture) {
			add(picture.text, picture.length);
			continue;
		}
		if ((c === '`' || c in marks) && opens(line, at)) {
			hopeless.add(c);
		}
		text += c;
		at++;
	}
	flush();
	return nodes;
}

const word = /[\p{L}\p{N}]/u;

// opens tells whether the mark at this place may begin something.
function opens(line, at) {
	const before = line[at - 1] ?? ' ';
	const after = line[at + 1] ?? ' ';
	return !word.test(before) && before !== line[at] && after !== line[at] && (line[at] === '`' || !/\s/.test(after));
}

// closing returns where the mark at this place ends, or -1.
function closing(line, at) {
	const mark = line[at];
	for (let i = at + 2; i < line.length; i++) {
		if (line[i] === '<' && mark !== '`') {
			i += (readToken(line, i, decode)?.length ?? 1) - 1;
		} else if (line[i] === mark && (mark === '`' || !/\s/.test(line[i - 1]) && !word.test(line[i + 1] ?? ' '))) {
			return i;
		}
	}
	return -1;
}

// tokensOnly returns the nodes of text in which only tokens mean something.
export function tokensOnly(text, decodeText) {
	const nodes = [];
	let from = 0;
	for (let at = text.indexOf('<'); at >= 0; at = text.indexOf('<', at + 1)) {
		const token = readToken(text, at, decodeText);
		if (token) {
			nodes.push(decodeText(text.slice(from, at)), token.node);
			from = at + token.length;
		}
	}
	nodes.push(decodeText(text.slice(from)));
	return nodes.filter(n => n !== '');
}

// readToken reads the <...> at this place. It returns the node and how many
// characters it took, or null for what is no token of Slack's: "<script>", say,
// or a link that nobody should follow.
export function readToken(text, at, decodeText) {
	const found = tokenShape.exec(text.slice(at, at + 3100)); // Slack's longest URL is 3,000
	if (!found) {
		return null;
	}
	const [all, kind, target, label] = found;
	const node = tokenNode(kind, target, label === undefined ? undefined : decodeText(label), decodeText);
	return node && {node, length: all.length};
}

const tokenShape = /^<([@#!]?)([^<>|\n]+)(?:\|([^<>\n]*))?>/;

function tokenNode(kind, target, label, decodeText) {
	switch (kind) {
	case '@':
		return /^[UW][A-Z0-9]+$/.test(target) ? {type: 'user', id: target} : null;
	case '#':
		return /^[CGD][A-Z0-9]+$/.test(target) ? {type: 'channel', id: target, label} : null;
	case '!':
		if (/^(here|channel|everyone)$/.test(target)) {
			return {type: 'broadcast', name: target};
		}
		if (/^subteam\^S[A-Z0-9]+$/.test(target)) {
			return {type: 'group', id: target.slice('subteam^'.length), label};
		}
		return target.startsWith('date^') && label ? label : null;
	}
	const url = safeURL(kind === '' ? decodeText(target) : '');
	if (url) {
		return {type: 'link', url, children: [label || decodeText(target)]};
	}
	return /^tel:/i.test(target) ? label || decodeText(target) : null;
}

// safeURL returns the address as the browser understands it if a click on it
// does no more than open a page or a mail, and "" otherwise.
export function safeURL(address) {
	try {
		const url = new URL(address);
		return /^(https?|mailto):$/.test(url.protocol) ? url.href : '';
	} catch {
		return ''; // it is no address, or one within this page
	}
}

// bareLink returns the address that begins at this place, or "".
export function bareLink(text, at) {
	if (text[at] !== 'h' || word.test(text[at - 1] ?? ' ')) {
		return '';
	}
	const found = /^https?:\/\/[^\s<>|"`*\\]+/.exec(text.slice(at, at + 3000))?.[0] ?? '';
	const link = found.replace(/&(gt|lt|quot);.*$/, '').replace(/[.,:;!?'_~)\]}]+$/, '');
	return safeURL(link) ? link : '';
}

// decode undoes Slack's encoding. It comes last: what it yields is text.
export function decode(text) {
	return text.replace(/&(amp|lt|gt);/g, (_, name) => ({amp: '&', lt: '<', gt: '>'})[name]);
}

// emojiAt returns the picture for the :name: at this place and how long that
// is, or null. Names that are not in this short list stay as they are.
export function emojiAt(text, at) {
	const name = /^:([a-z0-9_+-]+):/.exec(text.slice(at, at + 60))?.[1];
	return emoji.has(name) ? {text: emoji.get(name), length: name.length + 2} : null;
}

export const emoji = new Map(Object.entries({
	white_check_mark: '✅', heavy_check_mark: '✔️', x: '❌', warning: '⚠️', no_entry: '⛔', no_entry_sign: '🚫',
	hourglass: '⌛', hourglass_flowing_sand: '⏳', eyes: '👀', lock: '🔒', key: '🔑', closed_lock_with_key: '🔐',
	mag: '🔍', bulb: '💡', tada: '🎉', wave: '👋', pray: '🙏', '+1': '👍', thumbsup: '👍', '-1': '👎', ok_hand: '👌',
	rotating_light: '🚨', fire: '🔥', shield: '🛡️', robot_face: '🤖', question: '❓', exclamation: '❗',
	information_source: 'ℹ️', page_facing_up: '📄', paperclip: '📎', file_folder: '📁', bar_chart: '📊',
	clock1: '🕐', stopwatch: '⏱️', repeat: '🔁', arrows_counterclockwise: '🔄', octagonal_sign: '🛑', speech_balloon: '💬',
	red_circle: '🔴', large_yellow_circle: '🟡', large_green_circle: '🟢', large_blue_circle: '🔵', slightly_smiling_face: '🙂', smile: '😄',
	thinking_face: '🤔', heart: '❤️', rocket: '🚀', bell: '🔔', skull: '💀', bug: '🐛', zap: '⚡', star: '⭐', point_right: '👉',
}));
