// Nodes as elements of the page. Text gets in as text only: there is no
// innerHTML in this page, and an address gets in only if safeURL made it.

// el makes an element. Attributes that are false or undefined are left out,
// onclick and the like are listeners.
export function el(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith('on')) {
			e.addEventListener(name.slice(2), value);
		} else if (value !== false && value !== undefined && value !== null) {
			e.setAttribute(name, value === true ? '' : value);
		}
	}
	e.append(...children.flat().filter(c => c !== undefined && c !== null && c !== false));
	return e;
}

const strokes = {
	lock: 'M4 7h8v6H4zM6 7V5a2 2 0 0 1 4 0v2',
	close: 'M4 4l8 8M12 4l-8 8',
	back: 'M10 3L5 8l5 5',
	send: 'M2.5 8L13 3l-3 10-2.5-4zM7.5 9L13 3',
	file: 'M4 2h5l3 3v9H4zM9 2v3h3',
	widen: 'M2 8h12M5 5L2 8l3 3M11 5l3 3-3 3',
	thread: 'M2.5 3h11v8H8l-3 2.5V11H2.5z',
	down: 'M8 3v9M4.5 8.5L8 12l3.5-3.5',
	magnifier: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.5 10.5L14 14M5 6h4M5 8h3',
	eye: 'M1.5 8S4 4 8 4s6.5 4 6.5 4S12 12 8 12 1.5 8 1.5 8zM8 6.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3',
};

// icon makes one of the pictures above.
export function icon(name) {
	const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
	svg.setAttribute('viewBox', '0 0 16 16');
	svg.setAttribute('class', 'icon');
	svg.setAttribute('aria-hidden', 'true');
	const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
	path.setAttribute('d', strokes[name]);
	svg.append(path);
	return svg;
}

// draw makes elements of nodes. names knows what to call people and channels:
// names.user(id), names.channel(id), names.me. names.press(action), if there is
// one, presses a button and returns why it could not.
export function draw(nodes, names) {
	return nodes.map(node => typeof node === 'string' ? document.createTextNode(node) : shapes[node.type](node, names));
}

const simple = tag => (node, names) => el(tag, {}, draw(node.children, names));

const shapes = {
	bold: simple('strong'),
	italic: simple('em'),
	strike: simple('s'),
	underline: simple('u'),
	code: simple('code'),
	paragraph: simple('p'),
	quote: simple('blockquote'),
	break: () => el('br'),
	rule: () => el('hr'),
	heading: (node, names) => el('p', {class: 'heading', role: 'heading', 'aria-level': 4}, draw(node.children, names)),
	pre: (node, names) => el('pre', {tabindex: 0}, el('code', {}, draw(node.children, names))),
	link: (node, names) => outside(node.url, draw(node.children, names)),
	user: (node, names) => mention('@' + names.user(node.id), node.id === names.me),
	group: node => mention(node.label || '@' + node.id, true),
	channel: (node, names) => mention('#' + (names.channel(node.id) ?? node.label ?? node.id), false),
	broadcast: node => mention('@' + node.name, true),
	list: drawList,
	table: (node, names) => drawTable(node, node.rows, names),
	datatable: drawDataTable,
	context: (node, names) => el('div', {class: 'context'}, draw(node.children, names)),
	attachment: (node, names) => el('div', {class: 'attachment'}, draw(node.children, names)),
	fields: (node, names) => el('div', {class: 'fields'}, node.cells.map(c => el('div', {}, draw(c, names)))),
	beside: (node, names) => el('div', {class: 'beside'}, el('div', {}, draw(node.children, names)), el('div', {}, draw(node.aside, names))),
	buttons: (node, names) => el('div', {class: 'buttons'}, node.buttons.map(b => drawButton(b, names))),
	image: node => el('p', {class: 'image', title: 'Pictures are not fetched here'}, '🖼 ', [node.title, node.alt].filter(Boolean).join(': ') || 'picture'),
	unknown: node => el('pre', {class: 'unknown', tabindex: 0, title: 'Not shown in the simulated Slack'}, JSON.stringify(node.json, null, 2)),
};

// outside makes a link. It is not told where it was clicked.
function outside(url, children, attributes = {}) {
	return el('a', {title: url, ...attributes, href: url, target: '_blank', rel: 'noopener noreferrer'}, children);
}

function mention(text, loud) {
	return el('span', {class: loud ? 'mention loud' : 'mention'}, text);
}

function drawList(node, names) {
	const items = node.items.map((item, i) => {
		const done = node.tasks[i];
		const box = done === undefined ? [] : [el('input', {type: 'checkbox', disabled: true, checked: done})];
		return el('li', {class: done === undefined ? false : 'task'}, box, draw(item, names));
	});
	const indent = node.indent ? 'indent-' + Math.min(node.indent, 6) : false;
	return node.ordered ? el('ol', {start: node.start, class: indent}, items) : el('ul', {class: indent}, items);
}

function drawTable(node, rows, names) {
	const row = (tag, cells) => el('tr', {}, cells.map((c, i) => {
		const align = node.align?.[i] || (c.number ? 'right' : '');
		const content = draw(c.children, names);
		return el(tag, {class: align && 'align-' + align}, tag === 'td' ? el('div', {}, content) : content);
	}));
	const head = el('thead', {}, row('th', node.head));
	const body = el('tbody', {}, rows.map(cells => row('td', cells)));
	return el('div', {class: 'table', tabindex: 0, role: 'region', 'aria-label': node.caption || 'Table'}, el('table', {}, head, body));
}

function drawDataTable(node, names) {
	const pages = Math.max(1, Math.ceil(node.rows.length / node.pageSize));
	let page = 0;
	const place = el('div', {});
	const where = el('span', {});
	const turn = by => {
		page += by;
		const from = page * node.pageSize;
		const rows = node.rows.slice(from, from + node.pageSize);
		place.replaceChildren(drawTable(node, rows, names));
		where.textContent = `${rows.length ? from + 1 : 0}–${from + rows.length} of ${node.rows.length}`;
		back.disabled = page === 0;
		on.disabled = page === pages - 1;
	};
	const back = el('button', {type: 'button', onclick: () => turn(-1)}, 'Previous');
	const on = el('button', {type: 'button', onclick: () => turn(1)}, 'Next');
	turn(0);
	return el('figure', {class: 'datatable'}, el('figcaption', {}, node.caption), place, el('div', {class: 'pager'}, where, back, on));
}

function drawButton({label, style, url, action}, names) {
	const look = 'button ' + (['primary', 'danger'].includes(style) ? style : '');
	if (url) {
		return outside(url, label, {class: look});
	}
	if (!names.press || !action) {
		return el('button', {type: 'button', class: look, disabled: true, title: 'This button does nothing in the simulated Slack'}, label);
	}
	const problem = el('span', {class: 'soft', role: 'alert'});
	const press = async () => {
		pressed.disabled = true;
		problem.textContent = await names.press(action);
		pressed.disabled = false;
	};
	const pressed = el('button', {type: 'button', class: look, onclick: press}, label);
	return el('span', {}, pressed, ' ', problem);
}
