"""Every word that the app shows, in English and in Chinese."""

from dataclasses import dataclass

ENGLISH, CHINESE = "English", "中文"


@dataclass(frozen=True)
class Texts:
    """The words of one language; braces stand for what is put in."""

    title: str
    subtitle: str
    one: str
    many: str
    two: str
    picture: str
    drop: str
    examples: str
    model: str
    precision: str
    precision_info: str
    first: str
    second: str
    answer: str
    waiting: str
    time: str
    unknown: str
    unknown_because: str
    looked: str
    looked_because: str
    not_looked: str
    failed: str
    pictures: str
    classify: str
    download: str
    counted: str
    columns: tuple[str, ...]
    same: str
    different: str
    footer: str


TEXTS = {
    ENGLISH: Texts(
        title="What is in the picture?",
        subtitle="BEiT v2 image classification, on this machine",
        one="One picture",
        many="Many pictures",
        two="Two models",
        picture="Picture",
        drop="# Drop a picture here\nor click to choose one. Below: upload, camera, paste",
        examples="Or take one of these",
        model="Model",
        precision="Precision",
        precision_info="fp32 is exact; bf16 and int8 need less memory and, on many processors, less time",
        first="First model",
        second="Second model",
        answer="Answer",
        waiting="The answer appears here, as soon as there is a picture.",
        time="{time} to read, prepare and classify",
        unknown="Unknown",
        unknown_because="This looks like none of the classes. The nearest ones:",
        looked="Where the model looked",
        looked_because="The warmer a place, the more it speaks for “{label}”. The picture is as the network gets it.",
        not_looked="Where the model looked cannot be told:",
        failed="This picture could not be classified",
        pictures="Pictures",
        classify="Classify all",
        download="Download the table (csv)",
        counted="{right} of {all} pictures classified in {time}: {speed:,.0f} pictures per second.",
        columns=("Picture", "Class", "Probability", "Second", "Probability", "Error"),
        same="Both say “{label}”.",
        different="They differ: “{first}” and “{second}”.",
        footer="Pictures stay on the machine that runs this page, and are removed from it after an hour.",
    ),
    CHINESE: Texts(
        title="图片里是什么？",
        subtitle="BEiT v2 图像分类，在本机运行",
        one="单张图片",
        many="多张图片",
        two="两个模型对比",
        picture="图片",
        drop="# 把图片拖到这里\n或点击选择文件。下方可上传、拍照、粘贴",
        examples="或者选一张示例",
        model="模型",
        precision="精度",
        precision_info="fp32 最精确；bf16 和 int8 占用内存更少，在许多处理器上也更快",
        first="第一个模型",
        second="第二个模型",
        answer="结果",
        waiting="选好图片后，结果会显示在这里。",
        time="读取、预处理和分类共 {time}",
        unknown="未知",
        unknown_because="图片不像任何一个已知类别。最接近的是：",
        looked="模型在看哪里",
        looked_because="颜色越暖的位置，越支持“{label}”这个结果。图中是网络实际看到的画面。",
        not_looked="无法给出模型关注的位置：",
        failed="这张图片无法分类",
        pictures="图片",
        classify="全部分类",
        download="下载表格（csv）",
        counted="{all} 张图片中有 {right} 张完成分类，用时 {time}，每秒 {speed:,.0f} 张。",
        columns=("图片", "类别", "概率", "第二可能", "概率", "错误"),
        same="两个模型都认为是“{label}”。",
        different="两个模型不一致：“{first}”和“{second}”。",
        footer="图片只保存在运行本页面的机器上，一小时后删除。",
    ),
}


def preferred_language(accepted: str) -> str:
    """Returns the language of a page whose browser sends this Accept-Language header: the first one that it names."""
    return CHINESE if accepted.strip().lower().startswith("zh") else ENGLISH
