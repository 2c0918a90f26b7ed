// One message as an element: who, when, what, files, reactions, replies.
import {messageNodes} from './blocks.js';
import {draw, el, icon} from './draw.js';
import {emoji} from './mrkdwn.js';

// when returns the moment that a ts ("1732443300.000100") names.
export function when(ts) {
	return new Date(parseFloat(ts) * 1000);
}

export function clock(ts) {
	return when(ts).toISOString().slice(11, 16) + ' UTC';
}

export function day(ts) {
	return when(ts).toLocaleDateString('en-GB', {weekday: 'long', day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC'});
}

// avatar makes the square beside a name.
export function avatar(user) {
	const initials = user.name.split(/[\s._-]+/).map(w => [...w][0] ?? '').slice(0, 2).join('').toUpperCase();
	let hue = 0;
	for (const c of user.id) {
		hue = (hue * 31 + c.charCodeAt(0)) % 8;
	}
	return el('span', {class: user.bot ? 'avatar app' : 'avatar hue-' + hue, 'aria-hidden': 'true'}, user.bot ? icon('magnifier') : initials || '?');
}

// drawMessage makes the element of a message. compact leaves out the author,
// who is the one above; thread, if there are replies, says
// {count, last, fresh, open}.
export function drawMessage(message, {author, names, compact, thread, startThread}) {
	const classes = ['message', compact && 'compact', message.only_you && 'only-you'].filter(Boolean).join(' ');
	const time = el('time', {datetime: when(message.ts).toISOString(), title: when(message.ts).toISOString()}, compact ? clock(message.ts).slice(0, 5) : clock(message.ts));
	const head = el('div', {class: 'head'}, el('b', {}, author.name), author.bot && el('span', {class: 'app-badge'}, 'APP'), author.badge && el('span', {class: 'badge'}, author.badge), time);
	return el('article', {class: classes},
		el('div', {class: 'side'}, compact ? time : avatar(author)),
		el('div', {class: 'main'},
			message.only_you && el('p', {class: 'only-you-note'}, icon('eye'), 'Only visible to you'),
			!compact && head,
			el('div', {class: 'body'}, draw(messageNodes(message), names), message.edited && el('span', {class: 'edited'}, '(edited)')),
			(message.files ?? []).map(drawFile),
			drawReactions(message.reactions ?? []),
			thread?.count > 0 && drawReplies(thread)),
		startThread && el('button', {type: 'button', class: 'start', title: 'Reply in a thread', 'aria-label': 'Reply in a thread', onclick: startThread}, icon('thread')));
}

function drawReplies({count, last, fresh, open}) {
	return el('button', {type: 'button', class: 'replies', onclick: open}, icon('thread'),
		el('b', {}, count === 1 ? '1 reply' : count + ' replies'),
		fresh > 0 && el('span', {class: 'unread'}, fresh + ' new'),
		el('span', {class: 'soft'}, 'last at ' + clock(last)));
}

function drawReactions(reactions) {
	const counts = new Map();
	for (const name of reactions) {
		counts.set(name, (counts.get(name) ?? 0) + 1);
	}
	return counts.size > 0 && el('div', {class: 'reactions'}, [...counts].map(([name, n]) =>
		el('span', {class: 'reaction', title: ':' + name + ':'}, emoji.get(name) ?? ':' + name + ':', ' ', String(n))));
}

const previewed = 4096; // bytes

function drawFile(file) {
	const address = '/page/files/' + encodeURIComponent(file.id);
	const text = el('pre', {tabindex: 0});
	const preview = el('details', {}, el('summary', {}, 'Preview'), text);
	preview.addEventListener('toggle', () => show(address, file, text), {once: true});
	return el('div', {class: 'file'},
		el('div', {class: 'file-head'}, icon('file'),
			el('div', {class: 'file-name'}, el('b', {}, file.title || file.name), el('span', {class: 'soft'}, [file.title && file.title !== file.name && file.name, file.type.toUpperCase(), size(file.size)].filter(Boolean).join(' · '))),
			el('a', {class: 'button', href: address, download: file.name}, 'Download')),
		preview);
}

// show fills in the beginning of a file.
async function show(address, file, place) {
	try {
		const answer = await fetch(address, {headers: {Range: `bytes=0-${previewed - 1}`}});
		const bytes = new Uint8Array(await answer.arrayBuffer()).slice(0, previewed);
		if (!answer.ok && file.size > 0) {
			throw new Error(answer.statusText);
		}
		const rest = file.size > bytes.length ? `\n… and ${size(file.size - bytes.length)} more` : '';
		place.textContent = new TextDecoder().decode(bytes).replace(/[\0-\x08\x0b-\x1f\x7f]/g, '\ufffd') + rest;
	} catch (e) {
		place.textContent = 'The file cannot be shown: ' + e.message;
	}
}

function size(bytes) {
	for (const unit of ['bytes', 'kB', 'MB']) {
		if (bytes < 1000) {
			return (unit === 'bytes' ? bytes : bytes.toFixed(1)) + ' ' + unit;
		}
		bytes /= 1000;
	}
	return bytes.toFixed(1) + ' GB';
}
