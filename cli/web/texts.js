// What the page says, in English, Japanese and Chinese. `{name}` is filled in; `¦` parts a sentence from what to do.

const TEXTS = new Map(`
  tagline|A call between browsers and terminals, from one to the other.|ブラウザーと端末を、そのままつなぐ通話。|浏览器与终端之间的直接通话。
  previewTitle|Preview|プレビュー|预览
  joinTitle|Join a room|ルームに入る|加入房间
  yourName|Your name|お名前|你的名字
  room|Room|ルーム|房间
  roomHelp|Whoever has the link can join. Letters, digits and . _ ~ @ : + -|リンクを知っている人が入れます。英数字と . _ ~ @ : + -|有链接的人都能加入。字母、数字和 . _ ~ @ : + -
  roomBad|A room has 1 to 64 letters, digits or . _ ~ @ : + -|ルーム名は英数字と . _ ~ @ : + - の 1〜64 文字です|房间名为 1 至 64 个字母、数字或 . _ ~ @ : + -
  token|Token of this server|サーバーのトークン|服务器令牌
  tokenNeeded|This server wants a token.|このサーバーにはトークンが必要です。|此服务器需要令牌。
  join|Join|参加する|加入
  joining|Joining…|接続中…|正在加入…
  worksWithout|Works without a camera and a microphone too.|カメラやマイクがなくても参加できます。|没有摄像头和麦克风也可以参加。
  camera|Camera|カメラ|摄像头
  microphone|Microphone|マイク|麦克风
  speaker|Speaker|スピーカー|扬声器
  devices|Choose devices|デバイスを選ぶ|选择设备
  defaultDevice|Default|既定|默认
  level|Microphone level|マイクの音量|麦克风音量
  cameraIsOff|Camera is off|カメラはオフです|摄像头已关闭
  micOff|Muted|ミュート中|已静音
  flip|Turn camera around|カメラを切り替える|切换前后摄像头
  problem.insecure|Camera and microphone need https. ¦Open this page by https://, or http://localhost on the same machine. Chat and watching work as it is.|カメラとマイクには https が必要です。¦https:// か、同じ機械の http://localhost で開いてください。チャットと視聴は使えます。|摄像头和麦克风需要 https。¦请用 https:// 打开，或在本机用 http://localhost 打开。聊天和观看可直接使用。
  problem.denied|Camera and microphone are not allowed. ¦Allow them by the symbol beside the address, then try again, or join without.|カメラとマイクが許可されていません。¦アドレスの横の印から許可して試すか、なしで参加してください。|摄像头和麦克风未获许可。¦请在地址栏旁的图标中允许后重试，或直接加入。
  problem.none|A camera or microphone was not found. ¦Plug one in and try again, or join without.|カメラまたはマイクが見つかりません。¦接続してもう一度試すか、なしで参加してください。|未找到摄像头或麦克风。¦请接好后重试，或直接加入。
  problem.busy|Another program uses the camera or microphone. ¦Close it and try again.|他のプログラムがカメラかマイクを使っています。¦終了してもう一度試してください。|其他程序正在使用摄像头或麦克风。¦请关闭后重试。
  problem.other|The camera or microphone could not be opened. ¦Try again, or choose another one.|カメラかマイクを開けませんでした。¦もう一度試すか、別のものを選んでください。|无法打开摄像头或麦克风。¦请重试或选择其他设备。
  fromTerminal|From a terminal|端末から参加|从终端加入
  endpoints|All endpoints and protocols|すべてのエンドポイント|所有端点与协议
  language|Language|言語|语言
  copy|Copy|コピー|复制
  copied|Copied|コピーしました|已复制
  close|Close|閉じる|关闭
  localLink|This link works on this machine only; others need --listen and https.|このリンクはこの機械だけで使えます。他には --listen と https が要ります。|此链接仅在本机有效；他人需要 --listen 和 https。
  invite|Invite|招待|邀请
  qr|QR code of the link|リンクの QR コード|链接的二维码
  people|People|参加者|参与者
  peopleCount|{n} here|{n} 人|{n} 人
  controls|Controls|操作|控制
  shareScreen|Share screen|画面を共有|共享屏幕
  shareFailed|The screen could not be shared|画面を共有できませんでした|无法共享屏幕
  record|Record|録画|录制
  recorded|Recording saved:|録画を保存しました:|录制已保存：
  chat|Chat|チャット|聊天
  say|Write a message|メッセージを書く|输入消息
  send|Send|送信|发送
  sendFile|Send a file|ファイルを送る|发送文件
  dropHere|Drop files to offer them to everybody|ここに置くと全員に送ります|拖放文件以发送给所有人
  noTakers|Nobody here can take files at the moment|今ファイルを受け取れる人がいません|目前没有人可以接收文件
  accept|Accept|受け取る|接收
  decline|Decline|断る|拒绝
  cancel|Cancel|中止|取消
  saveAgain|Save|保存|保存
  file.in|{name} offers a file, {size}|{name} さんからのファイル {size}|{name} 发来文件，{size}
  file.out|Offered to {name}, {size}|{name} さんの返事を待っています、{size}|等待 {name} 接收，{size}
  file.active|{name}: {moved} of {size}, {speed}/s|{name}: {moved} / {size}、{speed}/秒|{name}：{moved} / {size}，{speed}/秒
  file.done|{name}: arrived whole, {size}|{name}: 完了 {size}|{name}：已完整送达，{size}
  file.failed|{name}: did not arrive whole|{name}: 途中で切れました|{name}：未能完整送达
  file.declined|{name}: declined|{name}: 断られました|{name}：已拒绝
  file.cancelled|{name}: cancelled|{name}: 中止されました|{name}：已取消
  statistics|Connection|接続|连接
  copyDiagnostics|Copy diagnostics|診断をコピー|复制诊断信息
  rtt|Round trip|往復|往返
  loss|Loss|損失|丢包
  fps|Frames/s|フレーム/秒|帧/秒
  received|Received|受信|接收
  sent|Sent|送信|发送
  picture|Picture|画像|画面
  leave|Leave|退出|离开
  retry|Retry|再試行|重试
  you|{name} (you)|{name}（自分）|{name}（你）
  guest|Guest|ゲスト|访客
  tapToHear|Click to hear the others|クリックすると音が出ます|点击以播放声音
  joined|{name} joined|{name} さんが入りました|{name} 加入了
  left|{name} left|{name} さんが退出しました|{name} 离开了
  alone|Nobody else is here yet. Invite somebody.|まだ誰もいません。誰かを招待しましょう。|还没有其他人，邀请一位吧。
  connecting|connecting…|接続中…|正在连接…
  direct|direct|直接|直连
  relayed|relayed|中継|中继
  connected|connected|接続済み|已连接
  reconnecting|reconnecting…|再接続中…|正在重连…
  failed.no-path|failed: no path to them|失敗: 経路がありません|失败：没有可用路径
  failed.hung-up|failed: they hung up|失敗: 相手が切りました|失败：对方已断开
  failed.refused|failed: not understood|失敗: 通信できません|失败：无法协商
  server.waiting|server lost, reconnecting in {n} s|サーバー切断、{n} 秒後に再接続|与服务器断开，{n} 秒后重连
  server.closed|disconnected: {why}|切断: {why}|已断开：{why}
  why.replaced|this session goes on in another window|別のウィンドウで続いています|会话已在其他窗口继续
  why.refused|the server refused|サーバーに拒否されました|被服务器拒绝
  why.room-full|the room is full|ルームは満員です|房间已满
  why.unreachable|The server cannot be reached. Is it running?|サーバーにつながりません。動いていますか。|无法连接服务器。它在运行吗？
`.trim().split('\n').map(line => line.trim().split('|')).map(([key, ...texts]) => [key, texts]));

const LANGUAGES = ['en', 'ja', 'zh'];
let chosen = 0;

/** The text of a key; a key without one stands for itself. */
export function t(key, values = {}) {
  return (TEXTS.get(key)?.[chosen] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether there is a text of this key. */
export const knows = key => TEXTS.has(key);

/** The reader's language: what was chosen before, else the browser's first that we have. */
export function preferredLanguage() {
  const wanted = [stored('enishi.language'), ...(navigator.languages ?? [])].filter(Boolean).map(tag => tag.slice(0, 2).toLowerCase());
  return wanted.find(tag => LANGUAGES.includes(tag)) ?? 'en';
}

/** Fills the page: `data-t` is text, `data-t-label` a label, `data-t-placeholder` what may be written. */
export function setLanguage(language) {
  chosen = Math.max(0, LANGUAGES.indexOf(language));
  document.documentElement.lang = LANGUAGES[chosen];
  const fill = (name, put) => document.querySelectorAll(`[data-t${name}]`).forEach(element => put(element, t(element.getAttribute(`data-t${name}`))));
  fill('', (element, text) => (element.textContent = text));
  fill('-placeholder', (element, text) => (element.placeholder = text));
  fill('-label', (element, text) => {
    element.setAttribute('aria-label', text);
    if (element.matches('button')) element.title = text;
  });
}

/** Settings survive where the browser lets them. */
export function stored(key, value) {
  try {
    if (value !== undefined) localStorage.setItem(key, value);
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
