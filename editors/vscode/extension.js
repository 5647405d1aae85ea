// Starts `lmqlc lsp` for LMQL programs, and runs programs and their tests in a terminal.
"use strict";

const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

function command() {
  const words = vscode.workspace.getConfiguration("lmql").get("command");
  return Array.isArray(words) && words.length ? words : ["lmqlc"];
}

async function start() {
  const [program, ...rest] = command();
  const server = { command: program, args: [...rest, "lsp"], transport: TransportKind.stdio };
  const options = { documentSelector: [{ language: "lmql" }], outputChannelName: "LMQL" };
  client = new LanguageClient("lmql", "LMQL", server, options);
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    const choice = await vscode.window.showErrorMessage(
      `LMQL: \`${program} lsp\` does not start (${error.message}). Install it with: pip install 'lmqlc[lsp]', or set lmql.command.`,
      "Settings",
    );
    if (choice) {
      vscode.commands.executeCommand("workbench.action.openSettings", "lmql.command");
    }
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running) {
    await running.stop();
  }
}

async function inTerminal(what) {
  const editor = vscode.window.activeTextEditor;
  if (!editor || editor.document.languageId !== "lmql") {
    return;
  }
  await editor.document.save();
  const name = "LMQL";
  const terminal = vscode.window.terminals.find((one) => one.name === name) || vscode.window.createTerminal(name);
  const quoted = [...command(), what, editor.document.fileName].map((word) => (/[^\w./:\\-]/.test(word) ? JSON.stringify(word) : word));
  terminal.show(true);
  terminal.sendText(quoted.join(" "));
}

async function activate(context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("lmql.run", () => inTerminal("run")),
    vscode.commands.registerCommand("lmql.test", () => inTerminal("test")),
    vscode.commands.registerCommand("lmql.restart", async () => {
      await stop();
      await start();
    }),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (event.affectsConfiguration("lmql.command")) {
        await stop();
        await start();
      }
    }),
  );
  await start();
}

module.exports = { activate, deactivate: stop };
