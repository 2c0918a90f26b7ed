// The Markdown of Slack's markdown blocks as a tree of nodes: what mrkdwn.js
// says of nodes, and
//
//	{type: "heading" | "rule"}
//	{type: "list", ordered, start, items: [[block]], tasks: [true | false | undefined]}
//	{type: "pre", lang, children}
//	{type: "table", head: [cell], rows: [[cell]], align: ["left" | "center" | "right" | ""]}
//
// where a cell is {children}. It is the subset of GitHub's Markdown that Slack
// documents. Two things differ from GitHub, both measured in a real workspace:
// <!here>, <@U1> and <https://a|b> are alive, and entities are decoded for
// display only. HTML is text.
import {bareLink, emojiAt, readToken, safeURL, tokensOnly} from './mrkdwn.js';

// parseMarkdown returns the blocks of a text.
export function parseMarkdown(text) {
	return blocks(text.replace(/\r\n?/g, '\n').split('\n'), 0);
}

const deepest = 12; // blocks within blocks; whatever is deeper is a paragraph

const shapes = {
	fence: /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\s]*)[^`]*$/,
	heading: /^ {0,3}#{1,6}(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$/,
	rule: /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/,
	quote: /^ {0,3}> ?/,
	item: /^( {0,3}([-+*]|\d{1,9}[.)]))(?:( {1,4})(?=\S)| +|$)/,
	delimiters: /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/,
};

function blocks(lines, depth) {
	const found = [];
	for (let at = 0; at < lines.length;) {
		if (!lines[at].trim()) {
			at++;
			continue;
		}
		const read = depth < deepest ? readers.find(r => r.begins(lines, at)) : undefined;
		const [block, next] = (read?.take ?? paragraph)(lines, at, depth);
		found.push(block);
		at = next;
	}
	return found;
}

// readers tell whether their kind of block begins at a line, and take it: they
// return the block and the line after it.
const readers = [
	{begins: (lines, at) => shapes.fence.test(lines[at]), take: fence},
	{
		begins: (lines, at) => shapes.heading.test(lines[at]),
		take: (lines, at) => [{type: 'heading', children: inline(shapes.heading.exec(lines[at])[1] ?? '')}, at + 1],
	},
	{begins: (lines, at) => shapes.rule.test(lines[at]), take: (lines, at) => [{type: 'rule'}, at + 1]},
	{begins: (lines, at) => shapes.quote.test(lines[at]), take: quote},
	{begins: (lines, at) => shapes.item.test(lines[at]), take: list},
	{begins: beginsTable, take: table},
];

function paragraph(lines, at) {
	const from = at++;
	while (at < lines.length && lines[at].trim() && !interrupts(lines, at)) {
		at++;
	}
	const text = lines.slice(from, at).map(l => l.trimStart()).join('\n').trimEnd();
	return [{type: 'paragraph', children: inline(text)}, at];
}

// interrupts tells whether a block begins at a line in the middle of a
// paragraph. A list does only with something in it, and with 1 if it counts.
function interrupts(lines, at) {
	const reader = readers.find(r => r.begins(lines, at));
	return reader !== undefined && (reader.take !== list || /^ *([-+*]|1[.)]) +\S/.test(lines[at]));
}

function fence(lines, at) {
	const [, open, lang] = shapes.fence.exec(lines[at]);
	const close = new RegExp('^ {0,3}' + open[0] + '{' + open.length + ',}[ \t]*$');
	const from = ++at;
	while (at < lines.length && !close.test(lines[at])) {
		at++;
	}
	return [{type: 'pre', lang, children: tokensOnly(lines.slice(from, at).join('\n'), entities)}, at + 1];
}

function quote(lines, at, depth) {
	const inside = [];
	for (; at < lines.length && shapes.quote.test(lines[at]); at++) {
		inside.push(lines[at].replace(shapes.quote, ''));
	}
	return [{type: 'quote', children: blocks(inside, depth + 1)}, at];
}

function list(lines, at, depth) {
	const kind = marker => /\d/.test(marker) ? marker.at(-1) : marker;
	const first = shapes.item.exec(lines[at])[2];
	const block = {type: 'list', ordered: /\d/.test(first), start: parseInt(first) || 0, items: [], tasks: []};
	while (at < lines.length) {
		const item = shapes.item.exec(lines[at]);
		if (!item || kind(item[2]) !== kind(first) || shapes.rule.test(lines[at])) {
			break;
		}
		const indent = item[1].length + (item[3]?.length ?? 1);
		let inside;
		[inside, at] = itemLines(lines, at, indent);
		const task = /^\[([ xX])\] +/.exec(inside[0]);
		inside[0] = inside[0].slice(task?.[0].length ?? 0);
		block.tasks.push(task ? task[1] !== ' ' : undefined);
		block.items.push(blocks(inside, depth + 1));
	}
	return [block, at];
}

// itemLines returns what is in the list item that begins at a line, without
// its indent, and the line after it.
function itemLines(lines, at, indent) {
	const inside = [lines[at++].slice(indent)];
	for (; at < lines.length; at++) {
		const line = lines[at];
		const indented = line.search(/\S/) >= indent;
		const next = lines[at + 1] ?? '';
		if (line.trim() ? !indented && (interrupts(lines, at) || shapes.item.test(line) || !inside.at(-1)) : next.search(/\S/) < indent) {
			break;
		}
		inside.push(indented ? line.slice(indent) : line.trim());
	}
	while (at < lines.length && !lines[at].trim()) {
		at++; // an item may follow after empty lines
	}
	return [inside, at];
}

function beginsTable(lines, at) {
	return lines[at].includes('|') && shapes.delimiters.test(lines[at + 1] ?? '') && cells(lines[at]).length === cells(lines[at + 1]).length;
}

function table(lines, at) {
	const head = cells(lines[at]);
	const align = cells(lines[at + 1]).map(d => /:$/.test(d) ? /^:/.test(d) ? 'center' : 'right' : /^:/.test(d) ? 'left' : '');
	const rows = [];
	for (at += 2; at < lines.length && lines[at].trim() && !interrupts(lines, at); at++) {
		const row = cells(lines[at]);
		rows.push(head.map((_, i) => row[i] ?? ''));
	}
	const parsed = row => row.map(cell => ({children: inline(cell)}));
	return [{type: 'table', head: parsed(head), rows: rows.map(parsed), align}, at];
}

// cells splits a row at the pipes that no backslash stands before.
function cells(line) {
	const row = line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '');
	return row.split(/(?<!\\)\|/).map(cell => cell.trim().replaceAll('\\|', '|'));
}

// inline parses the text of a paragraph, a heading or a cell.
function inline(text, withinLink = false) {
	const brackets = pairs(text);
	const noRunOf = new Set(); // lengths of backtick runs that nothing closes
	const parts = [];
	let at = 0;
	while (at < text.length) {
		const c = text[at];
		const {node, length} = special[c]?.({text, at, brackets, noRunOf, withinLink}) ?? {node: c, length: 1};
		parts.push(node);
		at += length;
	}
	return emphasise(parts);
}

// special has a reader for each character that may mean something. It returns
// the node and its length, or undefined if the character is just that.
const special = {
	'\n': () => ({node: {type: 'break'}, length: 1}),
	' ': ({text, at}) => {
		const spaces = / {2,}\n/y;
		spaces.lastIndex = at;
		return spaces.test(text) ? {node: {type: 'break'}, length: spaces.lastIndex - at} : undefined;
	},
	'\\': ({text, at}) => {
		if (text[at + 1] === '\n') {
			return {node: {type: 'break'}, length: 2};
		}
		// Slack's list of what can be escaped does not have "<", so a token stays one.
		const escaped = /[!-/:-@[-`{-~]/.test(text[at + 1] ?? '') && !readToken(text, at + 1, entities);
		return escaped ? {node: text[at + 1], length: 2} : undefined;
	},
	'&': ({text, at}) => {
		const entity = /^&(?:#x?[0-9a-f]{1,7}|[a-z]{2,6});/i.exec(text.slice(at, at + 12))?.[0];
		return entity && entities(entity) !== entity ? {node: entities(entity), length: entity.length} : undefined;
	},
	'<': ({text, at}) => {
		const mail = /^<([\w.+-]+@[\w.-]+)>/.exec(text.slice(at, at + 330));
		if (mail && safeURL('mailto:' + mail[1])) {
			return {node: {type: 'link', url: safeURL('mailto:' + mail[1]), children: [mail[1]]}, length: mail[0].length};
		}
		return readToken(text, at, raw) ?? undefined;
	},
	'`': ({text, at, noRunOf}) => {
		const run = /^`+/.exec(text.slice(at))[0];
		const end = noRunOf.has(run.length) ? -1 : closingRun(text, at + run.length, run.length);
		if (end < 0) {
			noRunOf.add(run.length);
			return {node: run, length: run.length};
		}
		const inside = text.slice(at + run.length, end).replaceAll('\n', ' ');
		const trimmed = /^ .*\S.* $/.test(inside) ? inside.slice(1, -1) : inside;
		return {node: {type: 'code', children: tokensOnly(trimmed, entities)}, length: end + run.length - at};
	},
	'!': c => c.text[c.at + 1] === '[' ? plusOne(special['[']({...c, at: c.at + 1})) : undefined, // an image: a link to it
	'[': ({text, at, brackets, withinLink}) => {
		const close = brackets.get(at);
		const target = close === undefined || withinLink ? null : /^\(\s*(?:<([^<>\n]*)>|((?:\\.|[^\s()\\<]|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/.exec(text.slice(close + 1, close + 3500));
		const url = target && safeURL((target[1] ?? target[2]).replace(/\\([!-/:-@[-`{-~])/g, '$1'));
		if (!url) {
			return undefined;
		}
		return {node: {type: 'link', url, children: inline(text.slice(at + 1, close), true)}, length: close + 1 + target[0].length - at};
	},
	':': ({text, at}) => {
		const picture = emojiAt(text, at);
		return picture ? {node: picture.text, length: picture.length} : undefined;
	},
	'h': ({text, at, withinLink}) => {
		const link = withinLink ? '' : bareLink(text, at);
		return link ? {node: {type: 'link', url: safeURL(entities(link)), children: [entities(link)]}, length: link.length} : undefined;
	},
	'*': run, '_': run, '~': run,
};

const raw = text => text; // Slack does not decode what a link points at
const plusOne = read => read && {...read, length: read.length + 1};

function closingRun(text, from, length) {
	for (const run of text.slice(from).matchAll(/`+/g)) {
		if (run[0].length === length) {
			return from + run.index;
		}
	}
	return -1;
}

// pairs maps where each "[" is to where its "]" is.
function pairs(text) {
	const open = [];
	const found = new Map();
	for (let i = 0; i < text.length; i++) {
		if (text[i] === '\\') {
			i++;
		} else if (text[i] === '[') {
			open.push(i);
		} else if (text[i] === ']' && open.length) {
			found.set(open.pop(), i);
		}
	}
	return found;
}

// run reads a run of *, _ or ~, which emphasise makes something of. The rules
// are CommonMark's, section 6.2.
function run({text, at}) {
	const mark = text[at];
	let end = at;
	while (text[end] === mark) {
		end++;
	}
	const before = text[at - 1] ?? ' ';
	const after = text[end] ?? ' ';
	const space = c => /\s/.test(c);
	const punctuation = c => /[\p{P}\p{S}]/u.test(c);
	const left = !space(after) && (!punctuation(after) || space(before) || punctuation(before));
	const right = !space(before) && (!punctuation(before) || space(after) || punctuation(after));
	return {
		length: end - at,
		node: {
			run: mark, count: end - at,
			opens: left && (mark !== '_' || !right || punctuation(before)),
			closes: right && (mark !== '_' || !left || punctuation(after)),
		},
	};
}

// emphasise makes bold, italic and struck text of the runs among parts.
function emphasise(parts) {
	const out = [];
	const open = []; // where in out the runs are that may still begin something
	for (const part of parts) {
		out.push(part);
		if (part.run && part.closes) {
			out.pop();
			close(part, out, open);
			if (part.count) {
				out.push(part);
			}
		}
		if (part.run && part.opens && part.count) {
			open.push(out.length - 1);
		}
	}
	return settled(out);
}

// close ends with a run what runs before it have begun, innermost first.
function close(part, out, open) {
	while (part.count) {
		const found = open.findLastIndex(i => fit(out[i], part));
		if (found < 0) {
			return;
		}
		const at = open[found];
		const opener = out[at];
		const used = part.run === '~' ? part.count : Math.min(2, opener.count, part.count);
		const type = part.run === '~' ? 'strike' : used === 2 ? 'bold' : 'italic';
		const children = settled(out.splice(at + 1));
		opener.count -= used;
		part.count -= used;
		open.length = found + 1;
		if (!opener.count) {
			out.pop();
			open.pop();
		}
		out.push({type, children});
	}
}

function fit(opener, closer) {
	if (opener.run !== closer.run) {
		return false;
	}
	if (closer.run === '~') {
		return opener.count === closer.count && closer.count <= 2;
	}
	const both = opener.closes || closer.opens;
	return !(both && (opener.count + closer.count) % 3 === 0 && (opener.count % 3 || closer.count % 3));
}

// settled makes text of the runs that nothing came of.
function settled(parts) {
	const nodes = [];
	for (const part of parts) {
		const node = part.run ? part.run.repeat(part.count) : part;
		if (typeof node === 'string' && typeof nodes.at(-1) === 'string') {
			nodes[nodes.length - 1] += node;
		} else {
			nodes.push(node);
		}
	}
	return nodes;
}

const named = new Map(Object.entries({amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', vert: '|', bsol: '\\', ast: '*', lowbar: '_', grave: '`', lsqb: '[', rsqb: ']', num: '#', excl: '!', commat: '@', sol: '/', colon: ':', hellip: '…', mdash: '—', ndash: '–', copy: '©'}));

// entities decodes HTML's entities. What it yields is text.
export function entities(text) {
	return text.replace(/&(?:#(x[0-9a-f]{1,6}|[0-9]{1,7})|([a-z]{2,6}));/gi, (all, number, name) => {
		if (name) {
			return named.get(name) ?? all;
		}
		const code = /^x/i.test(number) ? parseInt(number.slice(1), 16) : parseInt(number);
		return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : '\ufffd';
	});
}
